"""The only Celery code: which function a message runs."""

import functools
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from celery import Task, signals

from storage.problems import Unavailable
from storage.queue.tickets import ADOPT, BACKFILL, CLEAN, RECONCILE, RECORD, SEGMENT_BATCH, SWEEP
from worker.app import app, connection
from worker.housekeeping import janitor
from worker.housekeeping import sweeps as housekeeping

log = logging.getLogger(__name__)


@functools.cache
def _pipeline() -> Any:
    """Made by this process' first ticket: the import and load of an engine would delay the child's start."""
    from model.engines import choose
    from worker.engines import Engines
    from worker.pipeline.pipeline import Pipeline

    storage = connection()
    # The parent watches this process under the same name.
    worker = f"{socket.gethostname()}-{os.getppid()}"
    engines = Engines(storage.models, storage.settings.model_cache, choose(storage.settings.engine))
    return Pipeline(storage, engines, worker)


@app.task(name=SEGMENT_BATCH, bind=True)
def segment_batch(self: Task) -> None:
    _pipeline().run(drainer=self.request.id)


@app.task(name=SWEEP)
def sweep() -> None:
    if housekeeping.adopt_after_loss(connection()):
        housekeeping.sweep(connection())


@app.task(name=RECONCILE)
def reconcile() -> None:
    if connection().jobs.intact():
        housekeeping.reconcile(connection())


@app.task(name=ADOPT)
def adopt() -> None:
    housekeeping.adopt(connection(), housekeeping.NARROW, connection().settings.adopt_after_s)


@app.task(name=CLEAN)
def clean() -> None:
    janitor.clean(connection())
    _recording(lambda recorder: recorder.tidy(connection()))


@app.task(name=RECORD)
def record() -> None:
    _recording(lambda recorder: recorder.record(connection()))


@app.task(name=BACKFILL)
def backfill() -> None:
    _recording(lambda recorder: recorder.backfill(connection()))


def _recording(work: Callable[[Any], object]) -> None:
    """Work that needs the SQL database; while it is down, what has changed waits in Redis for the next try."""
    from worker.housekeeping import recorder  # SQLAlchemy, which whoever segments does without

    try:
        work(recorder)
    except Unavailable as error:
        log.warning("the records wait: %s", error)


@signals.worker_process_init.connect
def _ignore_group_signals(**_: Any) -> None:
    """A SIGTERM to the whole group is the parent's to handle: it lets this child finish its ticket."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
