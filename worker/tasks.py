"""The only Celery code: which function a message runs."""

import functools
import os
import signal
import socket
from typing import Any

from celery import Task, signals

from storage.tickets import ADOPT, CLEAN, RECONCILE, SEGMENT_BATCH, SWEEP
from worker import housekeeping, janitor
from worker.app import app, connection


@functools.cache
def _pipeline() -> Any:
    """Made by this process' first ticket: the import and load of an engine would delay the child's start."""
    from model.engines import choose
    from worker.engines import Engines
    from worker.pipeline import Pipeline

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


@signals.worker_process_init.connect
def _ignore_group_signals(**_: Any) -> None:
    """A SIGTERM to the whole group is the parent's to handle: it lets this child finish its ticket."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
