"""The operator's commands, and a worker, as processes on the services of a storage."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import services
from services import Service

from storage.connection import Storage


def ran(
    env: Mapping[str, str] | None, *arguments: object, cwd: Path = services.ROOT
) -> "subprocess.CompletedProcess[str]":
    """Run `segue ...` to its end. `env`: None for this process' own."""
    return subprocess.run(_line(arguments), env=env, cwd=cwd, capture_output=True, text=True, check=False)


def segue_in(env: Mapping[str, str], *arguments: object, fails: bool = False) -> str:
    """Run `segue ...`, which must succeed or fail. Returns what it printed."""
    done = ran(env, *arguments)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def segue(storage: Storage, *arguments: object, fails: bool = False) -> str:
    return segue_in(_environment(storage), *arguments, fails=fails)


def command(storage: Storage, *arguments: object) -> "subprocess.Popen[str]":
    """`segue ...` as a process that writes to pipes."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(_line(arguments), env=_environment(storage), cwd=services.ROOT, text=True, **pipes)


@contextmanager
def working(storage: Storage, log: Path, **settings: object) -> Iterator[Service]:
    """A worker, live at the beginning of the block."""
    env = services.joining(storage.settings, PYTHONPATH=services.PYTHONPATH, **settings)
    worker = services.spawn(services.procfile("worker"), env, log)
    services.wait_until(lambda: storage.jobs.queue().workers, "the worker")
    try:
        yield worker
    finally:
        worker.stop()


def _line(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "segue", *map(str, arguments)]


def _environment(storage: Storage) -> dict[str, str]:
    return services.joining(storage.settings, PYTHONPATH=services.PYTHONPATH, COLUMNS=200)
