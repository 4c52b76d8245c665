"""What runs a ticket, whatever goes wrong.

What goes wrong with one image is that image's own outcome; what goes wrong with a part (object store, model, Redis)
gives the leases back and counts against no job.
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
    """Lives as long as its process."""

    def __init__(self, storage: Storage, engines: Engines, worker: str) -> None:
        self._workplace = Workplace(storage, engines, worker)
        self._probe = StoreProbe(storage.objects)

    def run(self, drainer: str) -> None:
        """One ticket. `drainer`: its id."""
        if not self._probe.answers():
            return
        drain = Drain(self._workplace, drainer)
        try:
            drain.run()
        except Unavailable as error:
            self._probe.failed()
            log.warning("work put back until the object store answers: %s", error)
        except redis.RedisError as error:
            log.warning("work put back, the sweeper's next ticket tries again: %s", error)
        finally:
            drain.give_back()
            self._end_if_hopeless()

    def _end_if_hopeless(self) -> None:
        preparing = self._workplace.preparing
        if preparing.hopeless:
            log.critical("%d threads hang: ending this process, the worker starts another", preparing.hung)
            os._exit(1)  # an orderly end would wait for them
