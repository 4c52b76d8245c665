"""The bare work as one Celery task per image, behind Flask and gunicorn."""

import os
from functools import cache

from celery import Celery
from flask import Flask, Response, request
from work import Work

redis = os.environ["PEER_REDIS"]
app = Celery("peer", broker=redis, backend=redis)
app.conf.update(
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle"],
    worker_prefetch_multiplier=1,
    result_expires=600,
)
web = Flask(__name__)


@cache
def work() -> Work:
    """Load the engine in each process of the pool, after the fork."""
    return Work(os.environ["PEER_ENGINE"])


@app.task
def mask(photo: bytes) -> bytes:
    return work().masks([photo])[0]


@web.post("/masks")
def masks() -> Response:
    result = mask.delay(request.get_data())
    content = result.get(timeout=120)
    result.forget()
    return Response(content, mimetype="image/png")
