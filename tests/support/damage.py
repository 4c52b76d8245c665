"""Kill and stop the processes of a running stack, by the pids that the supervisor started."""

import os
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import redis
import services
from stack import Stack, children, command_line

WORKER, HOUSEKEEPER, WEB = "-Q segment", "-Q control", "gunicorn"


def pool_children(stack: Stack) -> list[int]:
    return [child for worker in stack.pids(WORKER) if (child := pool_child(worker))]


def pool_child(worker: int) -> int | None:
    """The child that runs the tasks. A worker's other child tracks semaphores."""
    return next((child for child in family(worker) if "semaphore_tracker" not in command_line(child)), None)


def family(pid: int) -> list[int]:
    """The pids of a process's children; empty if the process has ended."""
    try:
        return children(pid)
    except FileNotFoundError:
        return []


def redis_server(stack: Stack) -> int:
    [server] = [pid for pid in stack.pids("-server") if str(stack.redis_port) in command_line(pid)]
    return server


def kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> list[int]:
    """Send a signal. Returns the pids of the processes that still existed."""
    hit = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        hit.append(pid)
    return hit


def gone(pid: int) -> bool:
    """Whether a process has ended. Its parent may not have reaped it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """Stop the processes (SIGSTOP) for the duration of the block."""
    held = kill(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(held, signal.SIGCONT)


@contextmanager
def unsupervised(stack: Stack) -> Iterator[None]:
    """Pause the supervisor: it restarts a process that dies in the block only after the block."""
    with stopped([int((stack.var / "supervisord.pid").read_text())]):
        yield


def replaced(stack: Stack, program: str, victims: Iterable[int], count: int) -> list[int]:
    """Wait until `count` processes of `program` run, none of them a victim. Returns their pids."""
    dead, alive = set(victims), list[int]()

    def back() -> bool:
        alive[:] = [pid for pid in stack.pids(program) if not gone(pid)]
        return len(alive) == count and not dead & set(alive)

    services.wait_until(back, f"{program} after its end")
    return alive


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def run_id(client: "redis.Redis") -> str:
    return str(client.info("server")["run_id"])


def append_only_files(stack: Stack) -> Path:
    return stack.var / "redis" / "appendonlydir"


def increments(stack: Stack) -> Path:
    """The append-only file that Redis is writing to."""
    [file] = append_only_files(stack).glob("*.incr.aof")
    return file


def calm(stack: Stack, workers: int = 2) -> None:
    """Wait until all processes run and no job is pending or running."""

    def quiet() -> bool:
        if not reachable(stack):
            return False
        answer = stack.http.get("/readyz")
        if answer.status_code != 200:
            return False
        queue = stack.queue()
        empty = not any(lane["pending"] + lane["running"] for lane in queue["lanes"].values())
        return empty and answer.json()["workers"] == workers and len(pool_children(stack)) >= workers

    services.wait_until(quiet, "a calm stack")


def reachable(stack: Stack) -> bool:
    try:
        return stack.http.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def sqlite_locked(path: Path) -> Iterator[None]:
    """Hold the write lock, so that no other connection can write."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
