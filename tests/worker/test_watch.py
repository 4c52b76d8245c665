import time

from storage.connection import Storage
from worker import watch
from worker.watch import Stall


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


def test_a_watched_worker_shows_up(connection: Storage) -> None:
    watch.start(connection.jobs, "me", connection.settings)
    give_up = time.monotonic() + 10
    while not connection.jobs.queue().workers and time.monotonic() < give_up:
        time.sleep(0.05)
    assert connection.jobs.queue().workers == 1
