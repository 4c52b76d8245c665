"""Installs and starts the peers. In each, as in Segue, two processes compute, with one engine thread each."""

import http.client
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import load
import services
from accounting import tree
from photos import photos

HERE = Path(__file__).parent
ENVIRONMENTS = services.ROOT / "var" / "peers"
PATH, PATIENCE_S = "/masks", 120
ONE_THREAD = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
AS_ROOT = {"C_FORCE_ROOT": "1"}  # otherwise Celery refuses to unpickle as root


@dataclass(frozen=True)
class Peer:
    """`shape`: its processes and threads; `commands`: kind of process → command."""

    shape: str
    commands: Mapping[str, str]


GUNICORN = "{bin}/gunicorn -k gthread --keep-alive 75 --timeout 120 -b 127.0.0.1:{port}"
PEERS = {
    "flask": Peer(
        "2 gunicorn processes x 32 threads, one image at a time in each",
        {"web": f"{GUNICORN} -w 2 --threads 32 flask_server:app"},
    ),
    "celery": Peer(
        "1 gunicorn process x 64 threads, 2 Celery processes, one task per image, Redis",
        {
            "redis": "{redis} --port {redis_port} --bind 127.0.0.1 --save '' --appendonly no",
            "workers": "{bin}/celery -A celery_server worker -c 2 --without-gossip --without-mingle",
            "web": f"{GUNICORN} -w 1 --threads 64 celery_server:web",
        },
    ),
    "litserve": Peer(
        "2 web processes, 2 workers, micro-batches of up to 16 within 5 ms",
        {"server": "{bin}/python {here}/litserve_server.py"},
    ),
    "bentoml": Peer(
        "2 workers, one image at a time in each", {"server": "{bin}/bentoml serve bentoml_server:Masks --port {port}"}
    ),
    "mosec": Peer(
        "1 web process, 2 workers, micro-batches of up to 16 within 5 ms",
        {"server": "{bin}/python {here}/mosec_server.py --port {port}"},
    ),
    "ray": Peer(
        "1 proxy, 2 replicas, micro-batches of up to 16 within 5 ms", {"server": "{bin}/python {here}/ray_server.py"}
    ),
}


def install(name: str) -> None:
    """Create the peer's environment from its pinned requirements. Raises RuntimeError if that fails."""
    folder, wanted = ENVIRONMENTS / name, HERE / "requirements" / f"{name}.txt"
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    python = str(folder / "bin" / "python")
    for command in (
        ["venv", "-q", "--clear", "--python", sys.executable, str(folder)],
        ["pip", "install", "-q", "--python", python, "-r", str(wanted)],
    ):
        done = subprocess.run(["uv", *command], env=services.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
    stamp.write_text(wanted.read_text())


@contextmanager
def serving(name: str, engine: str, scratch: Path) -> Iterator[tuple[int, dict[str, list[int]]]]:
    """Start a peer and wait for its first mask. Yields its port and its processes by kind."""
    port, folder = services.free_ports(2), ENVIRONMENTS / name
    words = {
        "bin": folder / "bin", "here": HERE / "servers", "port": port, "redis_port": port + 1,
        "redis": services.redis_program("Valkey"),
    }  # fmt: skip
    env = services.environment(
        PEER_ENGINE=engine, PEER_PORT=port, PEER_REDIS=f"redis://127.0.0.1:{port + 1}/0", TF_CPP_MIN_LOG_LEVEL=3,
        PYTHONPATH=os.pathsep.join(map(str, (services.ROOT, HERE.parent, HERE / "servers"))), **ONE_THREAD, **AS_ROOT,
    )  # fmt: skip
    started = {
        kind: services.spawn(shlex.split(command.format(**words)), env, scratch / f"{name}-{engine}.log", cwd=scratch)
        for kind, command in PEERS[name].commands.items()
    }
    try:
        services.wait_until(lambda: answers(port), f"{name}, {engine}", PATIENCE_S)
        yield port, {kind: [service.process.pid] for kind, service in started.items()}
    finally:
        for service in reversed(started.values()):
            stop(service)


def answers(port: int) -> bool:
    """Whether the server has loaded its model and answers with a mask."""
    client = load.Client(port)
    try:
        return client.post(PATH, photos(640, 480)[0]).status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def stop(service: services.Service) -> None:
    """End a process, then kill any of its descendants that outlive it."""
    family = tree(service.process.pid)
    service.stop()
    time.sleep(1)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
