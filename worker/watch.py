"""The worker's heartbeat, and a watchdog over its progress.

A worker can be alive and consume nothing. The watchdog therefore checks progress, not the process:
while tickets wait, the child must make progress. If it does not, the worker exits and its supervisor
restarts it. Its leases expire and its jobs return to the queue.
"""

import logging
import os
import resource
import threading
import time
from pathlib import Path

import redis
from celery.worker import state

from storage.queue.jobs import RedisJobs
from storage.settings import Settings

BEAT_S = 2.0
CONSUMES_WITHIN_S = 10.0
ALIVE_MS = 10_000

log = logging.getLogger(__name__)


class Stall:
    """Detects a stalled worker: tickets waited for `limit_s` while the child made no progress.

    Also detects a parent that held no ticket for CONSUMES_WITHIN_S: Celery's consumer may fail to recover from a Redis
    that was still loading its data.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting_since: float | None = None
        self._taken_at: float | None = None

    def stalls(self, tickets: int, busy: bool, idle_s: float, now: float) -> bool:
        """Take one observation, and return whether the worker has stalled.

        `tickets`: length of the ticket queue; `busy`: the parent or its child holds a ticket; `idle_s`: seconds since
        the child's last progress; `now`: a monotonic clock.
        """
        if not tickets:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        if busy or not tickets or self._taken_at is None:
            self._taken_at = now
        hangs = self._waiting_since is not None and min(idle_s, now - self._waiting_since) > self._limit_s
        return hangs or now - self._taken_at > CONSUMES_WITHIN_S


def memory_bytes() -> int:
    """Resident bytes of this process and its children; 0 where /proc is missing."""
    own = [task / "children" for task in Path("/proc/self/task").glob("*")]
    pids = ["self", *(pid for file in own for pid in _read(file).split())]
    pages = sum(int(text.split()[1]) for pid in pids if (text := _read(Path("/proc") / pid / "statm")))
    return pages * resource.getpagesize()


def _read(file: Path) -> str:
    """The text of a file; "" if its process or thread has ended."""
    try:
        return file.read_text()
    except OSError:
        return ""


def start(jobs: RedisJobs, worker: str, settings: Settings) -> None:
    threading.Thread(target=_watch, args=(jobs, worker, settings), name="watch", daemon=True).start()


def _watch(jobs: RedisJobs, worker: str, settings: Settings) -> None:
    stall = Stall(settings.stall_s)
    while True:
        try:
            tickets, idle_ms = jobs.workers.beat(worker, ALIVE_MS, memory_bytes())
        except redis.RedisError as error:
            log.warning("heartbeat_failed", extra={"error": type(error).__name__})
        else:
            # A ticket is reserved before it is active: it waits in the parent while the child starts.
            if stall.stalls(tickets, bool(state.reserved_requests), idle_ms / 1000, time.monotonic()):
                log.critical("worker_stalled", extra={"tickets": tickets})
                os._exit(1)  # an orderly exit would wait for the child that hangs
        time.sleep(BEAT_S)
