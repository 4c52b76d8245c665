"""A task for real workers that logs when it begins and ends: `celery … -I slow_tickets`."""

import os
import time
from typing import Any

from storage.queue import transport
from worker.app import app, connection

SLOW, LOG = "tests.slow", "tests:log"
_ticket = transport.ticket


def _ticket_or_slow(message: Any, queue: str) -> Any:
    """Accept the slow task, which the queue's filter would otherwise drop as foreign."""
    return message if message["headers"]["task"] == SLOW else _ticket(message, queue)


transport.ticket = _ticket_or_slow


@app.task(name=SLOW)
def slow(name: str, seconds: float) -> None:
    redis = connection().jobs.client
    redis.rpush(LOG, f"{name} begins in {os.getpid()}")
    time.sleep(seconds)
    redis.rpush(LOG, f"{name} ends")
