"""The heartbeat of a worker, and the watchdog over its progress."""

import subprocess
import sys
from pathlib import Path

import services

from storage.connection import Storage
from worker.watch import Stall, memory_bytes

WATCHED = """
import time
from storage.connection import connect
from storage.settings import Settings
from worker import watch

storage = connect(Settings())
watch.start(storage.jobs, "me", storage.settings)
time.sleep(60)
"""


def test_a_stall_needs_waiting_tickets_and_a_child_that_does_not_move() -> None:
    stall = Stall(limit_s=60)
    assert not stall.stalls(tickets=0, busy=True, idle_s=1000, now=0)
    assert not stall.stalls(tickets=3, busy=True, idle_s=1000, now=10)  # the tickets have only just begun to wait
    assert not stall.stalls(tickets=3, busy=True, idle_s=5, now=100)  # the child makes progress
    assert stall.stalls(tickets=1, busy=True, idle_s=95, now=105)
    assert not stall.stalls(tickets=0, busy=True, idle_s=200, now=200)
    assert not stall.stalls(tickets=1, busy=True, idle_s=300, now=300)


def test_waiting_tickets_beside_an_idle_child_are_a_stall() -> None:
    stall = Stall(limit_s=60)
    assert not stall.stalls(tickets=5, busy=False, idle_s=100, now=100)
    assert not stall.stalls(tickets=5, busy=True, idle_s=0, now=108)
    assert not stall.stalls(tickets=5, busy=False, idle_s=2, now=110)  # between two tickets
    assert not stall.stalls(tickets=5, busy=False, idle_s=10, now=118)
    assert stall.stalls(tickets=5, busy=False, idle_s=11, now=119)


def test_a_watched_worker_reports_itself(connection: Storage, tmp_path: Path) -> None:
    """The watch runs in a separate process, which it would end if tickets waited."""
    watched = services.spawn([sys.executable, "-c", WATCHED], services.joining(connection.settings), tmp_path / "log")
    services.wait_until(lambda: connection.jobs.queue().workers == 1, "its heartbeat")
    watched.stop()


def test_a_worker_reports_the_memory_of_its_processes(connection: Storage, tmp_path: Path) -> None:
    """Its child is a process that holds 64 MB."""
    child = "import time; held = bytearray(64_000_000); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        held = memory_bytes()
        process.kill()
    assert held - memory_bytes() > 60_000_000
    connection.jobs.workers.beat("me", 60_000, held)
    assert connection.jobs.workers.memory_bytes() == {"me": held}
