"""GET /healthz and /readyz: whether the process is alive, and whether it can accept uploads."""

import redis
from flask import Blueprint, Response, jsonify

from storage.version import VERSION
from web.services import connected, key_database

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Check that the process responds; the response names Segue's version."""
    return jsonify(status="ok", version=VERSION)


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Check that uploads can be accepted: Redis and the object store respond, and callers can be recognised.

    A server that requires keys needs one answer of the SQL database for that. A later outage does not count, because
    the keys that have been seen remain valid.

    The response counts the workers but does not require any: jobs can wait for them.
    """
    storage = connected()
    try:
        workers, redis_ready = storage.jobs.queue().workers, True
    except redis.RedisError:
        workers, redis_ready = 0, False
    store_ready = storage.objects.ready()
    keys_ready = key_database().has_answered()
    ready = redis_ready and store_ready and keys_ready
    body = jsonify(
        status="ready" if ready else "unavailable",
        redis=redis_ready,
        object_store=store_ready,
        api_keys=keys_ready,
        workers=workers,
    )
    return body, 200 if ready else 503
