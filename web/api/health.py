"""Liveness and readiness."""

import redis
from flask import Blueprint, Response, jsonify

from web.services import connected

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Check that the process responds."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Check that uploads can be accepted: Redis and the object store respond.

    The response counts the workers but does not require any: jobs can wait for them.
    """
    storage = connected()
    try:
        workers, redis_ready = storage.jobs.queue().workers, True
    except redis.RedisError:
        workers, redis_ready = 0, False
    store_ready = storage.objects.ready()
    ready = redis_ready and store_ready
    body = jsonify(
        status="ready" if ready else "unavailable",
        redis=redis_ready,
        object_store=store_ready,
        workers=workers,
    )
    return body, 200 if ready else 503
