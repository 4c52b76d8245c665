"""Everything on one machine: `make run`.

Starts the Procfile's processes under a supervisor that brings a dead one back, prepares the object store, waits until
uploads are accepted, and prints the address. State lies under $VAR; a second run goes on where the first one stopped.
SIGTERM or Ctrl-C ends all of it.
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
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from storage.roles import credentials
from storage.roles.roles import Role, redis_acl, seaweedfs_identities
from storage.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 90
# Whoever stores is started first and stopped last.
PRIORITIES = {"redis": 1, "s3": 1}
OWN_PORTS = {"REDIS_PORT": "redis", "S3_PORT": "s3"}
# Given by the caller, these name a server that runs already.
GIVEN = {"redis": "REDIS_URL", "s3": "S3_URL"}
# What says who somebody is at a server; for our own servers every role has its own.
WHO = {"redis": ("REDIS_URL",), "s3": ("S3_ACCESS_KEY", "S3_SECRET_KEY")}
PROGRAM = """
[program:{name}]
command=/bin/sh -c '{command}'
directory={root}
numprocs={count}
process_name=%(program_name)s_%(process_num)d
priority={priority}
autorestart=true
startretries=1000000
stopwaitsecs=30
killasgroup=true
environment={own}
redirect_stderr=true
stdout_logfile={logs}/%(program_name)s_%(process_num)d.log
"""


def main() -> int:
    var = Path(os.environ.get("VAR") or ROOT / "var").resolve()
    env = environment(var)
    ours = procfile()
    ports = ["PORT", *(port for port, name in OWN_PORTS.items() if name in ours)]
    if taken := [name for name in ports if not is_free(int(env[name]))]:
        wanted = ", ".join(f"{name}={env[name]}" for name in taken)
        print(f"Already in use: {wanted}. Stop what listens there or choose others.", file=sys.stderr)
        return 1
    own = own_variables(var / "secrets", env)
    config = var / "supervisord.conf"
    config.write_text(supervisor_config(var, int(env["WORKERS"]), own))
    operator = {**env, **own[Role.OPERATOR]}
    leave_settings(var, operator)
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
        print(f"Segue did not get ready: see {var}/log", file=sys.stderr)
        supervisor.terminate()
        return supervisor.wait() or 1
    seconds = time.monotonic() - started
    print(f"Segue is ready after {seconds:.1f} s: http://127.0.0.1:{env['PORT']}  (logs: {var}/log)", flush=True)
    return supervisor.wait()


def environment(var: Path) -> dict[str, str]:
    """What all of the Procfile's lines need; the caller's own settings go before ours.

    Credentials are in it only for a server that the caller gave: every process inherits this.
    """
    for folder in ("log", "secrets", "models"):
        (var / folder).mkdir(parents=True, exist_ok=True)
    unused = {name for server in procfile() for name in WHO.get(server, ())}
    unused |= {f"{name}_FILE" for name in unused}
    given = {key: value for key, value in os.environ.items() if value and key not in unused}
    ports = {"PORT": "8000", "REDIS_PORT": "6379", "S3_PORT": "8333", "WORKERS": "1", **given}
    return {
        "MODEL_CACHE": str(var / "models"),
        "SQL_URL": f"sqlite:///{var}/records.db",
        "S3_URL": f"http://127.0.0.1:{ports['S3_PORT']}",
        **ports,
        "VAR": str(var),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def own_variables(folder: Path, env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Role or server → the variables that only it gets: files with its secrets, for the servers that we start here."""
    kept, ours = credentials.kept(folder), procfile()
    own: dict[str, dict[str, str]] = {name: {} for name in (*Role, *WHO)}
    if not env.keys() & {"SESSION_SECRET", "SESSION_SECRET_FILE"}:
        own[Role.WEB]["SESSION_SECRET_FILE"] = str(credentials.session_secret(folder))
    if "redis" in ours:
        acl = redis_acl({role: secrets.redis_password for role, secrets in kept.items()})
        own["redis"]["REDIS_ACL"] = str(credentials.write(folder / "redis.acl", acl))
        for role, secrets in kept.items():
            url = secrets.redis_url(role, f"127.0.0.1:{env['REDIS_PORT']}")
            own[role]["REDIS_URL_FILE"] = str(credentials.write(folder / role / "redis_url", url))
    if "s3" in ours:
        secret_keys = {role: secrets.s3_secret_key for role, secrets in kept.items()}
        identities = seaweedfs_identities(secret_keys, Settings().bucket_prefix)
        own["s3"]["S3_IDENTITIES"] = str(credentials.write(folder / "s3.json", identities))
        for role in Role:
            own[role] |= {"S3_ACCESS_KEY": role, "S3_SECRET_KEY_FILE": str(folder / role / "s3_secret_key")}
    return own


def leave_settings(var: Path, operator: Mapping[str, str]) -> None:
    """For `segue models` and the like, run beside this without an environment of their own."""
    names = ("S3_URL", "SQL_URL", *WHO["redis"], *WHO["s3"])
    settings = {name: operator.get(name) or in_file(operator, name) for name in names}
    credentials.write(var / "env", "".join(f"{name}={value}\n" for name, value in settings.items() if value))


def in_file(env: Mapping[str, str], name: str) -> str:
    file = env.get(f"{name}_FILE")
    return Path(file).read_text().strip() if file else ""


def supervisor_config(var: Path, workers: int, own: Mapping[str, Mapping[str, str]]) -> str:
    head = f"[supervisord]\nlogfile={var}/log/supervisord.log\npidfile={var}/supervisord.pid\n"
    sections = [
        PROGRAM.format(
            name=name,
            command=f"exec {command}".replace("'", "'\\''").replace("%", "%%"),
            root=ROOT,
            count=workers if name == "worker" else 1,
            priority=PRIORITIES.get(name, 10),
            logs=var / "log",
            own=",".join(f'{key}="{value}"' for key, value in own.get(name, {}).items()).replace("%", "%%"),
        )
        for name, command in procfile().items()
    ]
    return head + "".join(sections)


def procfile() -> dict[str, str]:
    """Name → command of what is to be started here."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    commands = {name.strip(): command.strip() for name, _, command in pairs}
    return {name: command for name, command in commands.items() if not os.environ.get(GIVEN.get(name, ""))}


def make_ready(env: dict[str, str], supervisor: "subprocess.Popen[bytes]", give_up: float) -> bool:
    """Set the object store up as soon as it answers, then wait for the web and a worker."""
    segue = [sys.executable, "-m", "segue", "setup"]
    store = urlsplit(env["S3_URL"])
    while time.monotonic() < give_up and supervisor.poll() is None:
        if not is_free(store.port or 80, store.hostname or ""):
            done = subprocess.run(segue, env=env, cwd=ROOT, capture_output=True, check=False)
            if done.returncode == 0:
                return is_ready(int(env["PORT"]), supervisor, give_up)
        time.sleep(0.1)
    return False


def is_ready(port: int, supervisor: "subprocess.Popen[bytes]", give_up: float) -> bool:
    while time.monotonic() < give_up and supervisor.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if json.load(answer)["workers"]:
                    return True
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.1)
    return False


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


if __name__ == "__main__":
    sys.exit(main())
