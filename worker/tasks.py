"""The Celery tasks: which function each message runs."""

import functools
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import redis
from celery import Task, signals

from storage import monitoring
from storage.heap import configure_heap
from storage.problems import Unavailable
from storage.queue.tickets import (
    ADOPT,
    CLEAN,
    LEARN,
    RECONCILE,
    RECORD,
    RECORD_MISSING,
    REPLACE,
    SCRUB,
    SEGMENT_BATCH,
    SWEEP,
    TRAIN,
)
from storage.roles.roles import Role
from telemetry import traces
from worker.app import app, connection
from worker.housekeeping import janitor, replacing, rollout_metrics, scrubber
from worker.housekeeping import learning as learning_sweep
from worker.housekeeping import sweeps as housekeeping

log = logging.getLogger(__name__)


@functools.cache
def _pipeline() -> Any:
    """Created by this process' first ticket: importing and loading an engine would delay the child's start."""
    from model.engines import choose
    from worker.engines import Engines
    from worker.pipeline.pipeline import Pipeline

    storage = connection()
    traces.start(storage.settings.otel_exporter_otlp_endpoint, "segue-worker")
    # The parent watches this process under the same name.
    worker = f"{socket.gethostname()}-{os.getppid()}"
    engines = Engines(storage, choose(storage.settings.engine))
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
    if connection().jobs.epoch.intact():
        housekeeping.reconcile(connection())


@app.task(name=ADOPT)
def adopt() -> None:
    housekeeping.adopt(connection(), housekeeping.NARROW, connection().settings.adopt_after_s)


@app.task(name=CLEAN)
def clean() -> None:
    erased = janitor.clean(connection())
    _recording(lambda recorder: recorder.tidy(connection(), erased))


@app.task(name=SCRUB)
def scrub() -> None:
    _recording(lambda _: scrubber.scrub(connection()))


@app.task(name=RECORD)
def record() -> None:
    _recording(lambda recorder: recorder.record(connection()))


@app.task(name=LEARN)
def learn() -> None:
    _recording(lambda _: learning_sweep.learn(connection()))


@app.task(name=REPLACE)
def replace() -> None:
    replacing.replace_gradually(connection())
    rollout_metrics.show(connection().rollouts.register().current)


@app.task(name=TRAIN, acks_late=False)
def train() -> None:
    """Do steps of open runs, which may take hours. The trainer's process has no time limit (`-P solo`)."""
    from celery.worker import state

    from learning.trainer import Trainer  # imports numpy and, for a training, TensorFlow

    def stopping() -> bool:
        return state.should_stop is not None or state.should_terminate is not None

    name = f"{socket.gethostname()}-{os.getpid()}"
    try:
        Trainer(connection(), name, connection().settings.training_folder, stopping).work()
    except (Unavailable, redis.RedisError) as error:  # the housekeeper sends another ticket
        log.warning("run_interrupted", extra={"error": str(error)})


@app.task(name=RECORD_MISSING)
def record_missing() -> None:
    _recording(lambda recorder: recorder.record_missing(connection()))


def _recording(work: Callable[[Any], object]) -> None:
    """Run `work`, which needs the SQL database.

    While that is down, changes wait in Redis for the next run.
    """
    from worker.housekeeping import recorder  # imports SQLAlchemy, which segmenting does not need

    try:
        work(recorder)
    except Unavailable as error:
        log.warning("records_delayed", extra={"error": str(error)})


@signals.worker_process_init.connect
def _ignore_group_signals(**_: Any) -> None:
    """Leave a SIGTERM to the process group to the parent, which lets this child finish its ticket."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@signals.worker_process_init.connect
def _prepare_heap(**_: Any) -> None:
    configure_heap()


@signals.worker_process_init.connect
def _serve_metrics(**_: Any) -> None:
    """The child of a worker does its work, so the child serves the metrics."""
    monitoring.serve(connection(), Role.WORKER)


@signals.worker_process_shutdown.connect
def _send_last_spans(**_: Any) -> None:
    traces.stop()
