"""Runs everything on one machine: `make run`, and with several web servers behind nginx `make run-scaled`.

Starts the Procfile's processes under a supervisor that restarts a dead one, runs `segue setup`, waits
until the web server accepts uploads and a worker is live, and prints the address. The state is under
$VAR; the next run resumes from it. SIGTERM or Ctrl-C stops all processes.

If WEBS is 2 or more, nginx listens on PORT, and the web servers on WEB_PORT and the next ports.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from storage.roles import credentials
from storage.roles.roles import Role, redis_acl, seaweedfs_identities
from storage.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 90
BALANCER = "nginx"
# Servers that store data start first and stop last; nginx, which needs the web servers, the other way round.
# The supervisor stops one group after the other, and the programs of a group together.
GROUPS = {"servers": ("redis", "s3"), "segue": ("web", "worker", "housekeeper", "trainer"), "balancer": (BALANCER,)}
OWN_PORTS = {"REDIS_PORT": "redis", "S3_PORT": "s3"}
# If one of these is set by the caller, it names a running server, which is used instead.
GIVEN = {"redis": "REDIS_URL", "s3": "S3_URL"}
# Credential variables. For a server that is started here, each role has its own.
CREDENTIALS = {"redis": ("REDIS_URL",), "s3": ("S3_ACCESS_KEY", "S3_SECRET_KEY")}
PROGRAM = """
[program:{name}]
command=/bin/sh -c '{command}'
directory={root}
numprocs={count}
numprocs_start={first}
process_name=%(program_name)s_%(process_num)d
autorestart=true
startretries=1000000
stopwaitsecs=30
killasgroup=true
environment={own}
redirect_stderr=true
stdout_logfile={logs}/%(program_name)s_%(process_num)d.log
"""


def main() -> int:
    os.umask(0o077)  # inherited by all processes started here
    var = Path(os.environ.get("VAR") or ROOT / "var").resolve()
    env = environment(var)
    ours = procfile()
    ports = {name: int(env[name]) for name in ("PORT", *(port for port, server in OWN_PORTS.items() if server in ours))}
    if BALANCER in ours:
        ports |= {f"WEB_PORT+{index}": port for index, port in enumerate(web_ports(env))}
    if taken := [name for name, port in ports.items() if not is_free(port)]:
        wanted = ", ".join(f"{name}={ports[name]}" for name in taken)
        print(f"Already in use: {wanted}. Stop the programs that listen there, or choose other ports.", file=sys.stderr)
        return 1
    own = own_variables(var / "secrets", env)
    if BALANCER in ours and not accepted_by_nginx({**env, **own[BALANCER]}):
        return 1
    config = var / "supervisord.conf"
    counts = {"web": int(env["WEBS"]), "worker": int(env["WORKERS"]), "trainer": int(env["TRAINERS"])}
    config.write_text(supervisor_config(var, counts, own, int(env["WEB_PORT"])))
    operator = {**env, **own[Role.OPERATOR]}
    write_settings(var, operator)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
        env=env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.terminate())
    started = time.monotonic()
    if not make_ready(operator, supervisor, started + PATIENCE_S):
        print(f"Segue did not become ready: see {var}/log", file=sys.stderr)
        supervisor.terminate()
        return supervisor.wait() or 1
    seconds = time.monotonic() - started
    scheme = "https" if BALANCER in ours and {"TLS_CERTIFICATE", "TLS_KEY"} <= env.keys() else "http"
    print(f"Segue is ready after {seconds:.1f} s: {scheme}://127.0.0.1:{env['PORT']}  (logs: {var}/log)", flush=True)
    return supervisor.wait()


def environment(var: Path) -> dict[str, str]:
    """The environment of all processes; the caller's settings override the defaults. Creates folders in `var`.

    It contains credentials only for a server that the caller named, because every process inherits it.
    """
    for folder in ("log", "secrets", "models"):
        (var / folder).mkdir(parents=True, exist_ok=True)
    var.chmod(0o700)  # files of an earlier run may be readable by others
    unused = {name for server in procfile() for name in CREDENTIALS.get(server, ())}
    unused |= {f"{name}_FILE" for name in unused}
    given = {key: value for key, value in os.environ.items() if value and key not in unused}
    counts = {"WEBS": "1", "WORKERS": str(cores()), "TRAINERS": "0"}
    ports = {"PORT": "8000", "REDIS_PORT": "6379", "S3_PORT": "8333", **counts, **given}
    ports = {"WEB_PORT": str(int(ports["PORT"]) + 1), **ports}
    return {
        "MODEL_CACHE": str(var / "models"),
        "TRAINING_FOLDER": str(var / "training"),
        "SQL_URL": f"sqlite:///{var}/records.db",
        "S3_URL": f"http://127.0.0.1:{ports['S3_PORT']}",
        **ports,
        "VAR": str(var),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def web_ports(env: Mapping[str, str]) -> list[int]:
    """The ports of the web servers. A single one has no nginx in front, and listens on PORT itself."""
    webs, first = int(env["WEBS"]), int(env["WEB_PORT"])
    return list(range(first, first + webs)) if webs > 1 else [int(env["PORT"])]


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_variables(folder: Path, env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Create secrets, and return role or server → the variables that only it receives.

    They name the files with its secrets, for the servers started here.
    """
    kept, ours = credentials.load_or_create(folder), procfile()
    own: dict[str, dict[str, str]] = {name: {} for name in (*Role, *CREDENTIALS, BALANCER)}
    if BALANCER in ours:
        own[BALANCER]["WEB_SERVERS"] = " ".join(f"127.0.0.1:{port}" for port in web_ports(env))
        own[Role.WEB]["TRUSTED_PROXY"] = env.get("TRUSTED_PROXY", "127.0.0.1")
    if not env.keys() & {"SESSION_SECRET", "SESSION_SECRET_FILE"}:
        own[Role.WEB]["SESSION_SECRET_FILE"] = str(credentials.session_secret(folder))
    if "redis" in ours:
        acl = redis_acl({role: secrets.redis_password for role, secrets in kept.items()})
        own["redis"]["REDIS_ACL"] = str(credentials.write(folder / "redis.acl", acl))
        for role, secrets in kept.items():
            url = secrets.redis_url(role, f"127.0.0.1:{env['REDIS_PORT']}")
            own[role]["REDIS_URL_FILE"] = str(credentials.write(folder / role / "redis_url", url))
        own["redis"]["REDIS_URL_FILE"] = own[Role.OPERATOR]["REDIS_URL_FILE"]  # deploy/redis.sh loads the functions
    if "s3" in ours:
        secret_keys = {role: secrets.s3_secret_key for role, secrets in kept.items()}
        identities = seaweedfs_identities(secret_keys, Settings().bucket_prefix)
        own["s3"]["S3_IDENTITIES"] = str(credentials.write(folder / "s3.json", identities))
        for role in Role:
            own[role] |= {"S3_ACCESS_KEY": role, "S3_SECRET_KEY_FILE": str(folder / role / "s3_secret_key")}
    return own


def accepted_by_nginx(env: Mapping[str, str]) -> bool:
    """Return whether nginx can start with this environment. If not, the script has printed why."""
    return subprocess.run([ROOT / "deploy" / "nginx.sh", "-tq"], env=env, check=False).returncode == 0


def write_settings(var: Path, operator: Mapping[str, str]) -> None:
    """Write the operator's settings to $VAR/env, where `segue models` and other commands find them."""
    names = ("S3_URL", "SQL_URL", "SHARD", *CREDENTIALS["redis"], *CREDENTIALS["s3"])
    settings = {name: operator.get(name) or in_file(operator, name) for name in names}
    credentials.write(var / "env", "".join(f"{name}={value}\n" for name, value in settings.items() if value))


def in_file(env: Mapping[str, str], name: str) -> str:
    file = env.get(f"{name}_FILE")
    return Path(file).read_text().strip() if file else ""


def supervisor_config(
    var: Path, counts: Mapping[str, int], own: Mapping[str, Mapping[str, str]], web_port: int = 0
) -> str:
    """`web_port`: of the first web server behind nginx. The supervisor numbers them by their ports."""
    behind = {"web"} if BALANCER in procfile() else set()
    head = f"[supervisord]\numask=077\nlogfile={var}/log/supervisord.log\npidfile={var}/supervisord.pid\n"
    programs = {
        name: PROGRAM.format(
            name=name,
            command=f"exec {command}".replace("'", "'\\''").replace("%", "%%"),
            root=ROOT,
            count=counts.get(name, 1),
            first=web_port if name in behind else 0,
            logs=var / "log",
            own=",".join(f'{key}="{value}"' for key, value in own.get(name, {}).items()).replace("%", "%%")
            + (',PORT="%(process_num)d"' if name in behind else ""),
        )
        for name, command in procfile().items()
        if counts.get(name, 1)
    }
    return head + "".join(programs.values()) + groups(programs)


def groups(programs: Iterable[str]) -> str:
    """The sections that put `programs` into groups."""
    sections = ""
    for priority, (group, members) in enumerate(GROUPS.items(), 1):
        if present := [name for name in members if name in programs]:
            sections += f"\n[group:{group}]\nprograms={','.join(present)}\npriority={priority}\n"
    return sections


def procfile() -> dict[str, str]:
    """Name → command of each process to start, without the servers that the caller named.

    With several web servers, nginx is added.
    """
    lines = (ROOT / "Procfile").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    commands = {name.strip(): command.strip() for name, _, command in pairs}
    if int(os.environ.get("WEBS") or 1) > 1:
        commands[BALANCER] = "deploy/nginx.sh"
    return {name: command for name, command in commands.items() if not os.environ.get(GIVEN.get(name, ""))}


def make_ready(env: dict[str, str], supervisor: "subprocess.Popen[bytes]", give_up: float) -> bool:
    """Run `segue setup` as soon as the object store answers, then wait for the web server and a worker."""
    segue = [sys.executable, "-m", "segue", "setup"]
    store = urlsplit(env["S3_URL"])
    while time.monotonic() < give_up and supervisor.poll() is None:
        if not is_free(store.port or 80, store.hostname or ""):
            done = subprocess.run(segue, env=env, cwd=ROOT, capture_output=True, check=False)
            if done.returncode == 0:
                return is_ready(env, supervisor, give_up)
        time.sleep(0.1)
    return False


def is_ready(env: Mapping[str, str], supervisor: "subprocess.Popen[bytes]", give_up: float) -> bool:
    while time.monotonic() < give_up and supervisor.poll() is None:
        if not is_free(int(env["PORT"])) and all(sees_a_worker(port) for port in web_ports(env)):
            return True
        time.sleep(0.1)
    return False


def sees_a_worker(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(json.load(answer)["workers"])
    except (OSError, urllib.error.URLError):
        return False


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


if __name__ == "__main__":
    sys.exit(main())
