"""Alive, and able to accept."""

import redis
from flask import Blueprint, Response, jsonify

from web.services import connected

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process answers."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Uploads can be accepted: object store and Redis. Workers are told, not required: work may wait for them."""
    connection = connected()
    try:
        workers, redis_ready = connection.jobs.queue().workers, True
    except redis.RedisError:
        workers, redis_ready = 0, False
    store_ready = connection.objects.ready()
    ready = redis_ready and store_ready
    body = jsonify(
        status="ready" if ready else "unavailable",
        redis=redis_ready,
        object_store=store_ready,
        workers=workers,
    )
    return body, 200 if ready else 503
