"""A task for real workers that tells when it begins and ends: `celery … -I slow_tickets`."""

import os
import time

from worker.app import app, connection

SLOW, LOG = "tests.slow", "tests:log"


@app.task(name=SLOW)
def slow(name: str, seconds: float) -> None:
    redis = connection().jobs.client
    redis.rpush(LOG, f"{name} begins in {os.getpid()}")
    time.sleep(seconds)
    redis.rpush(LOG, f"{name} ends")
