"""Celery's settings as a whole, on the worker that the Procfile starts."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from services import PATIENCE_S, SHIPPED_MODEL, Service
from specs import submit
from stack import children, command_line

from storage.connection import Storage
from storage.job import Status
from storage.keys import SEGMENT_QUEUE
from storage.queue.tickets import celery_app

SLOW, LOG = "tests.slow", "tests:log"  # as in support/slow_tickets.py; importing it would create another app
RUNTIMES = ("litert", "tensorflow")


@pytest.fixture
def worker(connection: Storage, tmp_path: Path) -> Iterator[Service]:
    """The worker of the Procfile with one more task."""
    connection.models.publish(SHIPPED_MODEL)
    command = services.procfile("worker")
    command[-1] += " -I slow_tickets"
    path = os.pathsep.join([str(services.ROOT), str(services.ROOT / "tests" / "support")])
    env = services.joining(connection.settings, PYTHONPATH=path)
    started = services.spawn(command, env, tmp_path / "worker.log")
    services.wait_until(lambda: connection.jobs.queue().workers, "the worker")
    yield started
    started.stop()


def send(connection: Storage, *names: str, seconds: float = 2.0) -> None:
    app = celery_app(connection.settings.redis_url)
    for name in names:
        app.send_task(SLOW, (name, seconds), queue=SEGMENT_QUEUE)


def log_lines(connection: Storage) -> list[str]:
    """The lines that the slow tasks have logged, in order."""
    return [" ".join(line.split()[:2]) for line in connection.jobs.client.lrange(LOG, 0, -1)]


def depth(connection: Storage) -> int:
    return int(connection.jobs.client.llen(SEGMENT_QUEUE))


def test_one_ticket_runs_and_the_others_stay_in_the_list(connection: Storage, worker: Service) -> None:
    send(connection, "a", "b", "c", seconds=1.0)
    for done, name in enumerate("abc"):
        services.wait_until(lambda: log_lines(connection)[-1:] == [f"{name} begins"], name)  # noqa: B023
        time.sleep(0.3)  # time in which a second ticket would be fetched
        assert depth(connection) == 2 - done
        assert log_lines(connection)[-1] == f"{name} begins"
    services.wait_until(lambda: len(log_lines(connection)) == 6, "the last")
    assert log_lines(connection) == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


def test_a_worker_finishes_only_its_current_ticket_on_sigterm(connection: Storage, worker: Service) -> None:
    send(connection, "a", "b", "c")
    services.wait_until(lambda: log_lines(connection), "the first")
    child = int(connection.jobs.client.lrange(LOG, 0, 0)[0].split()[-1])
    os.kill(child, signal.SIGTERM)  # as a signal to the whole group does
    worker.process.terminate()
    assert worker.process.wait(PATIENCE_S) == 0
    assert log_lines(connection) == ["a begins", "a ends"]
    assert depth(connection) == 2


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_message_is_refused_and_runs_no_code(connection: Storage, worker: Service, tmp_path: Path) -> None:
    app = celery_app(connection.settings.redis_url)
    app.send_task(SLOW, (Evil(tmp_path / "evil"), 0), queue=SEGMENT_QUEUE, serializer="pickle")
    send(connection, "after", seconds=0)
    services.wait_until(lambda: log_lines(connection) == ["after begins", "after ends"], "the one after it")
    assert not (tmp_path / "evil").exists()
    assert "Refusing to deserialize" in (tmp_path / "worker.log").read_text()
    assert worker.process.poll() is None


def test_an_undecodable_message_does_not_stop_the_worker(connection: Storage, worker: Service, tmp_path: Path) -> None:
    connection.jobs.client.lpush(SEGMENT_QUEUE, b"\xff{")
    send(connection, "after", seconds=0)
    services.wait_until(lambda: log_lines(connection) == ["after begins", "after ends"], "the one after it")
    assert connection.jobs.rejected() == 1
    assert "message_rejected" in (tmp_path / "worker.log").read_text()
    assert worker.process.poll() is None


def test_the_engine_lives_in_a_spawned_child_only(connection: Storage, worker: Service) -> None:
    made = submit(connection)
    connection.tickets.send()
    services.wait_until(lambda: (job := connection.jobs.get(made.id)) and job.status is Status.SUCCEEDED, "the mask")
    [child] = [pid for pid in children(worker.process.pid) if "spawn_main" in command_line(pid)]
    assert loaded(child) == {"litert"}
    assert loaded(worker.process.pid) == set()


def loaded(pid: int) -> set[str]:
    """The inference runtimes whose libraries the process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in RUNTIMES if f"{name}/" in maps}
