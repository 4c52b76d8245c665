"""The health checks of the containers of worker and housekeeper."""

import socket
import subprocess
import sys

import pytest
import services

from storage import keys
from storage.connection import Storage
from storage.queue.epoch import server_ms


def alive(connection: Storage, *arguments: str, **settings: str) -> bool:
    command = [sys.executable, "-m", "worker.alive", *arguments]
    env = services.joining(connection.settings, **settings)
    done = subprocess.run(command, env=env, cwd=services.ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ("Redis does not answer: ConnectionError\n" if settings else "")
    return done.returncode == 0


def test_a_worker_is_alive_while_its_own_heartbeat_lasts(connection: Storage) -> None:
    connection.jobs.workers.beat("another-host-1", 60_000)
    assert not alive(connection, "worker")
    connection.jobs.workers.beat(f"{socket.gethostname()}-7", 60_000)
    assert alive(connection, "worker")
    connection.jobs.workers.beat(f"{socket.gethostname()}-7", 1)
    services.wait_until(lambda: not alive(connection, "worker"), "the end of its heartbeat")


@pytest.mark.parametrize(("age_s", "expected"), [(1, True), (60, False)])
def test_a_housekeeper_is_alive_if_it_has_swept_lately(connection: Storage, age_s: int, expected: bool) -> None:
    assert not alive(connection, "housekeeper")
    connection.jobs.client.set(keys.CLOCK, server_ms(connection.jobs.client) - age_s * 1000)
    assert alive(connection, "housekeeper") == expected


@pytest.mark.parametrize("role", ["worker", "housekeeper"])
def test_an_outage_of_redis_restarts_nothing(connection: Storage, role: str) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    assert not alive(connection, role, REDIS_URL=nowhere)
    assert alive(connection, role, "--restarts", REDIS_URL=nowhere)
    assert not alive(connection, role, "--restarts")  # Redis answers, and knows of none
