"""The worker's heartbeat, and the watch over its child.

A worker can be alive and consume nothing. So not the process is watched but its progress: while tickets wait, the
child has to move; if it does not, the worker ends itself and its supervisor starts it anew. Its leases run out and its
jobs go back in line.
"""

import logging
import os
import threading
import time

import redis
from celery.worker import state

from storage.queue.jobs import RedisJobs
from storage.settings import Settings

BEAT_S = 2.0
CONSUMES_WITHIN_S = 10.0
ALIVE_MS = 10_000

log = logging.getLogger(__name__)


class Stall:
    """Tells when tickets have waited for `limit_s` in which the child made no progress.

    Or for CONSUMES_WITHIN_S in which the parent took none although the child had nothing to do: Celery's consumer
    has been seen not to come back from a Redis that was still loading.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting_since: float | None = None
        self._taken_at: float | None = None

    def seen(self, tickets: int, busy: bool, idle_s: float, now: float) -> bool:
        """One look: tickets in the list, whether the child has one, seconds since it last moved, a monotonic clock."""
        if not tickets:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        if busy or not tickets or self._taken_at is None:
            self._taken_at = now
        hangs = self._waiting_since is not None and min(idle_s, now - self._waiting_since) > self._limit_s
        return hangs or now - self._taken_at > CONSUMES_WITHIN_S


def start(jobs: RedisJobs, worker: str, settings: Settings) -> None:
    threading.Thread(target=_watch, args=(jobs, worker, settings), name="watch", daemon=True).start()


def _watch(jobs: RedisJobs, worker: str, settings: Settings) -> None:
    stall = Stall(settings.stall_s)
    while True:
        try:
            tickets, idle_ms = jobs.beat(worker, ALIVE_MS)
        except redis.RedisError as error:
            log.warning("no heartbeat: %s", type(error).__name__)
        else:
            if stall.seen(tickets, bool(state.active_requests), idle_ms / 1000, time.monotonic()):
                log.critical("tickets wait and nothing moves: ending this worker")
                os._exit(1)  # an orderly end would wait for the child that hangs
        time.sleep(BEAT_S)
