"""Celery's sending side. A ticket is one message that says "there is work"; it names no job and may be lost."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery

from storage.keys import CONTROL_QUEUE, RECORDS_QUEUE, SEGMENT_QUEUE
from storage.tls import redis_options

SEGMENT_BATCH = "worker.segment_batch"
SWEEP, RECONCILE, ADOPT, CLEAN, SCRUB = (
    "worker.sweep",
    "worker.reconcile",
    "worker.adopt",
    "worker.clean",
    "worker.scrub",
)
RECORD, BACKFILL = "worker.record", "worker.backfill"
# What a message in each queue may ask for; anything else is rejected (storage/queue/transport.py).
TASKS = {
    SEGMENT_QUEUE: (SEGMENT_BATCH,),
    CONTROL_QUEUE: (SWEEP, RECONCILE, ADOPT, CLEAN, SCRUB),
    RECORDS_QUEUE: (RECORD, BACKFILL),
}

log = logging.getLogger(__name__)


def celery_app(redis_url: str, redis_ca: Path | None = None) -> Celery:
    """What the sending and the working side must agree on."""
    app = Celery("segue", broker=redis_url)
    app.conf.update(
        broker_transport="storage.queue.transport:Transport",
        broker_use_ssl=redis_options(redis_url, redis_ca) or None,
        task_serializer="json",  # what the next line lets in
        accept_content=["json"],  # never pickle: a message must not be able to run code
        task_ignore_result=True,  # the job's record is the result
        task_publish_retry=False,  # a request must not wait for Redis; the sweeper sends what is missing
        task_default_queue=SEGMENT_QUEUE,  # unrouted messages go to a queue that is consumed
        broker_transport_options={
            "visibility_timeout": 600,  # far above any task's time, so no live ticket gets a twin
            "socket_timeout": 10,  # without one a Redis that hangs holds the worker for ever
            "socket_connect_timeout": 3,  # a machine that is gone does not even refuse
            "socket_keepalive": True,  # firewalls forget a connection that waits in silence
            "health_check_interval": 25,  # seconds; a half-open connection is noticed before it is used
            **_unacked_keys(urlsplit(redis_url).username or "default"),
        },
    )
    return app


def _unacked_keys(user: str) -> dict[str, str]:
    """Each Redis user keeps its unacknowledged messages apart, because it puts back those of a consumer that died."""
    return {f"unacked{part}_key": f"{user}:unacked{part}" for part in ("", "_index", "_mutex")}


class Tickets:
    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, count: int = 1) -> None:
        """Send up to `count` tickets. A failure is logged and no error: the sweeper tops up."""
        for _ in range(count):
            if not self._send(SEGMENT_BATCH, SEGMENT_QUEUE):
                return

    def record(self, task: str = RECORD) -> None:
        """Tell the housekeeper that the records are behind. It looks by itself too: a failure is no error."""
        self._send(task, RECORDS_QUEUE)

    def _send(self, task: str, queue: str) -> bool:
        try:
            # By the queue's name alone Celery uses the default exchange, which has no bindings that a FLUSHALL
            # could delete: a message sent to a named one would then be lost without an error.
            self._app.send_task(task, queue=queue)
        except Exception as error:  # whatever the broker's library raises, the job itself is safe
            log.warning("%s not sent, the housekeeper will: %s", task, type(error).__name__)
            return False
        return True
