"""Send Celery messages.

A ticket is a message that says "there is work"; it names no job and may be lost.
"""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery

from storage.keys import CONTROL_QUEUE, RECORDS_QUEUE, SEGMENT_QUEUE, TRAINING_QUEUE
from storage.tls import redis_options

SEGMENT_BATCH = "worker.segment_batch"
SWEEP, RECONCILE, ADOPT, CLEAN, SCRUB, LEARN, REPLACE = (
    "worker.sweep",
    "worker.reconcile",
    "worker.adopt",
    "worker.clean",
    "worker.scrub",
    "worker.learn",
    "worker.replace",
)
RECORD, RECORD_MISSING = "worker.record", "worker.record_missing"
TRAIN = "worker.train"
# The tasks that each queue accepts; storage/queue/transport.py rejects other messages.
TASKS = {
    SEGMENT_QUEUE: (SEGMENT_BATCH,),
    CONTROL_QUEUE: (SWEEP, RECONCILE, ADOPT, CLEAN, SCRUB, LEARN, REPLACE),
    RECORDS_QUEUE: (RECORD, RECORD_MISSING),
    TRAINING_QUEUE: (TRAIN,),
}

log = logging.getLogger(__name__)


def celery_app(redis_url: str, redis_ca: Path | None = None) -> Celery:
    """The Celery app, with the configuration that senders and workers share."""
    app = Celery("segue", broker=redis_url)
    app.conf.update(
        broker_transport="storage.queue.transport:Transport",
        broker_use_ssl=redis_options(redis_url, redis_ca) or None,
        task_serializer="json",  # matches accept_content
        accept_content=["json"],  # never pickle, which can run code
        task_ignore_result=True,  # the job hash holds the result
        task_publish_retry=False,  # a request must not wait for Redis; the sweeper sends missing tickets
        task_default_queue=SEGMENT_QUEUE,  # unrouted messages go to a queue that is consumed
        broker_transport_options={
            "visibility_timeout": 600,  # far longer than any task, so a live ticket is not delivered twice
            "socket_timeout": 10,  # without it, a hanging Redis blocks the worker for ever
            "socket_connect_timeout": 3,  # a dead machine does not refuse connections
            "socket_keepalive": True,  # firewalls drop idle connections
            "health_check_interval": 25,  # detects a half-open connection before using it
            **_unacked_keys(urlsplit(redis_url).username or "default"),
        },
    )
    return app


def _unacked_keys(user: str) -> dict[str, str]:
    """Keys for unacknowledged messages, separate for each Redis user.

    A consumer redelivers the messages of dead consumers, and may do so only for its own queues.
    """
    return {f"unacked{part}_key": f"{user}:unacked{part}" for part in ("", "_index", "_mutex")}


class Tickets:
    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, count: int = 1) -> None:
        """Send up to `count` tickets.

        A failure is only logged, because the sweeper sends missing tickets.
        """
        for _ in range(count):
            if not self._send(SEGMENT_BATCH, SEGMENT_QUEUE):
                return

    def train(self) -> None:
        """Send one training ticket. A failure is only logged, because the housekeeper sends another."""
        self._send(TRAIN, TRAINING_QUEUE)

    def record_missing(self) -> None:
        """Ask the housekeeper to compare the records with the object store. A failure is only logged."""
        self._send(RECORD_MISSING, RECORDS_QUEUE)

    def _send(self, task: str, queue: str) -> bool:
        try:
            # With a queue name only, Celery uses the default exchange. A named exchange has
            # bindings in Redis: after a FLUSHALL, messages sent to it would be lost without an error.
            self._app.send_task(task, queue=queue)
        except Exception as error:  # the broker's library may raise anything; the job is safe in any case
            log.warning("ticket_not_sent", extra={"task": task, "error": type(error).__name__})
            return False
        return True
