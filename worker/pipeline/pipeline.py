"""Runs tickets, and handles failures.

A failure of one image becomes that image's outcome. After a failure of a part (object store, model,
Redis), the leases are released, and no job is charged an attempt.
"""

import logging
import os

import redis

from storage.connection import Storage
from storage.problems import Unavailable
from worker.engines import Engines
from worker.pipeline.drain import Drain
from worker.pipeline.store_probe import StoreProbe
from worker.pipeline.workplace import Workplace

log = logging.getLogger(__name__)


class Pipeline:
    """Runs the tickets of one process."""

    def __init__(self, storage: Storage, engines: Engines, worker: str) -> None:
        self._workplace = Workplace(storage, engines, worker)
        self._probe = StoreProbe(storage.objects)

    def run(self, drainer: str) -> None:
        """Run one ticket. `drainer`: its id."""
        if not self._probe.is_up():
            return
        drain = Drain(self._workplace, drainer)
        try:
            drain.run()
        except Unavailable as error:
            self._probe.failed()
            log.warning("store_unavailable", extra={"error": str(error)})
        except redis.RedisError as error:
            log.warning("redis_unavailable", extra={"error": str(error)})
        finally:
            drain.give_back()
            self._exit_if_stuck()

    def _exit_if_stuck(self) -> None:
        preparing = self._workplace.preparing
        if preparing.stuck:
            log.critical("decoders_stuck", extra={"threads": preparing.hung})
            os._exit(1)  # an orderly exit would wait for the threads
