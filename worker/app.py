"""Composition root of worker, housekeeper and trainer.

celery -A worker.app worker -Q segment                                  # one per core or GPU: scale this one
celery -A worker.app worker -B -P threads -c 4 -Q control,records       # housekeeper; several are harmless
celery -A worker.app worker -P solo -Q training                         # trainer: any number, also none
"""

import functools
import logging
import os
import socket
import threading
import time
from datetime import timedelta
from typing import Any

from billiard import current_process
from celery import Celery, signals

from storage import monitoring
from storage.connection import Storage, connect
from storage.keys import CONTROL_QUEUE, RECORDS_QUEUE, SEGMENT_QUEUE, TRAINING_QUEUE
from storage.queue.tickets import ADOPT, CLEAN, LEARN, RECONCILE, RECORD, REPLACE, SCRUB, SWEEP, celery_app
from storage.roles.roles import Role
from storage.settings import Settings
from telemetry import logs, metrics
from worker import watch

log = logging.getLogger(__name__)
settings = Settings()
app: Celery = celery_app(settings.redis_url, settings.redis_ca)
app.conf.update(
    include=["worker.tasks"],  # imported by workers only, so this module stays light
    task_acks_late=True,  # a killed worker's ticket is not acknowledged and may come back
    worker_prefetch_multiplier=1,  # with the next line: no ticket waits behind a stuck one
    worker_disable_prefetch=True,  # and the length of the ticket queue is exact
    worker_concurrency=1,  # one process per core or GPU; add replicas for more
    worker_pool_start_method="spawn",  # forking a process with a loaded runtime hangs
    worker_proc_alive_timeout=60,  # the default of 4 s is less than a cold start on a busy machine
    task_time_limit=60,  # last resort against a hang: a ticket normally ends after 5 s
    worker_cancel_long_running_tasks_on_connection_loss=False,  # leases decide, not the broker's connection
    worker_enable_remote_control=False,  # no commands to workers through the queue
    worker_send_task_events=False,  # events would cost a message per ticket, and nothing reads them
    worker_hijack_root_logger=False,  # see _set_up_logging
    broker_connection_retry_on_startup=True,  # processes may start before Redis
    broker_connection_max_retries=None,  # a worker outlives any outage of Redis
    beat_scheduler="worker.schedule:Scheduler",
    beat_schedule={
        name: {
            "task": task,
            "schedule": timedelta(seconds=seconds),
            # Expired tasks are dropped: after an outage all of them would arrive at once.
            "options": {"queue": queue, "expires": seconds},
        }
        for name, task, queue, seconds in (
            ("sweep", SWEEP, CONTROL_QUEUE, settings.sweep_s),
            ("reconcile", RECONCILE, CONTROL_QUEUE, settings.reconcile_s),
            ("adopt", ADOPT, CONTROL_QUEUE, settings.adopt_s),
            ("clean", CLEAN, CONTROL_QUEUE, settings.clean_s),
            ("scrub", SCRUB, CONTROL_QUEUE, settings.scrub_s),
            ("learn", LEARN, CONTROL_QUEUE, settings.learn_s),
            ("replace", REPLACE, CONTROL_QUEUE, settings.rollout_s),
            ("record", RECORD, RECORDS_QUEUE, settings.record_s),
        )
    },
)


@functools.cache
def connection() -> Storage:
    """This process' storage, connected by its first task rather than inherited from its parent."""
    return connect(settings)


@signals.celeryd_init.connect  # before Celery warns about the user that runs it
@signals.setup_logging.connect  # in the child process too, in place of Celery's own configuration
def _set_up_logging(**_: Any) -> None:
    logs.configure(settings.log_level, settings.log_format, force=True)
    for chatty in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # they log a line per ticket and per sweep


@signals.celeryd_after_setup.connect
def _check_engine(**_: Any) -> None:
    """Exit at start, not at the first ticket, if the engine cannot run here."""
    from model.engines import EngineUnavailable, choose

    if SEGMENT_QUEUE not in app.amqp.queues.consume_from:
        return
    try:
        log.info("engine_chosen", extra={"engine": choose(settings.engine)})
    except EngineUnavailable as error:
        raise SystemExit(f"ENGINE={settings.engine}: {error}") from error


@signals.beat_embedded_init.connect
def _end_with_the_parent(**_: Any) -> None:
    """End the scheduler, a child process of the housekeeper, when a SIGKILL ends the housekeeper."""
    parent = current_process()._parent_pid  # os.getppid() has changed already if the housekeeper is dead

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()


@signals.worker_ready.connect
def _start_watching(**_: Any) -> None:
    if SEGMENT_QUEUE in app.amqp.queues.consume_from:
        watch.start(connection().jobs, f"{socket.gethostname()}-{os.getpid()}", settings)
    else:
        trains = TRAINING_QUEUE in app.amqp.queues.consume_from
        monitoring.serve(connection(), Role.TRAINER if trains else Role.HOUSEKEEPER)


@signals.task_postrun.connect
def _count_task(task: Any, state: str, **_: Any) -> None:
    metrics.TASKS.labels(task.name.removeprefix("worker."), state.lower()).inc()
