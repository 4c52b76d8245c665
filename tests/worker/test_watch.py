import sys
from pathlib import Path

import services

from storage.connection import Storage
from worker.watch import Stall

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
    assert not stall.stalls(tickets=3, busy=True, idle_s=1000, now=10)  # they have only begun to wait
    assert not stall.stalls(tickets=3, busy=True, idle_s=5, now=100)  # it moves
    assert stall.stalls(tickets=1, busy=True, idle_s=95, now=105)
    assert not stall.stalls(tickets=0, busy=True, idle_s=200, now=200)
    assert not stall.stalls(tickets=1, busy=True, idle_s=300, now=300)


def test_or_tickets_that_nobody_takes_while_the_child_has_nothing_to_do() -> None:
    stall = Stall(limit_s=60)
    assert not stall.stalls(tickets=5, busy=False, idle_s=100, now=100)
    assert not stall.stalls(tickets=5, busy=True, idle_s=0, now=108)
    assert not stall.stalls(tickets=5, busy=False, idle_s=2, now=110)  # between two tickets
    assert not stall.stalls(tickets=5, busy=False, idle_s=10, now=118)
    assert stall.stalls(tickets=5, busy=False, idle_s=11, now=119)


def test_a_watched_worker_shows_up(connection: Storage, tmp_path: Path) -> None:
    """In a process of its own, which the watch would end if tickets waited."""
    watched = services.spawn([sys.executable, "-c", WATCHED], services.joining(connection.settings), tmp_path / "log")
    services.wait_until(lambda: connection.jobs.queue().workers == 1, "its heartbeat")
    watched.stop()
