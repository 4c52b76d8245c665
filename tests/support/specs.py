"""Jobs as the web process would create them, and a Redis that falls back to an older state."""

import hashlib
from collections.abc import Callable
from typing import Any

import pictures
import redis

from storage import clock, keys
from storage.connection import Storage
from storage.job import Outcome, Spec, Status
from storage.keys import Lane
from storage.objects import OUTCOME_TEXT
from storage.photos.photo import read_header
from storage.problems import Problem

DAY_MS = 24 * 3600 * 1000


def spec(content: bytes = b"", **changes: Any) -> Spec:
    now_ms = clock.now_ms()
    fields: dict[str, Any] = {
        "id": keys.new_job_id(), "tenant": "local", "lane": Lane.INTERACTIVE, "model": "stable",
        "created_ms": now_ms, "deadline_ms": now_ms + DAY_MS, "filename": "a.jpg",
        "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content) or 1000, "width": 64, "height": 48,
        "format": "JPEG",
    }  # fmt: skip
    return Spec(**{**fields, **changes})


def submit(connection: Storage, content: bytes | None = None, **changes: Any) -> Spec:
    """Upload a photo and enqueue its job, without sending a ticket."""
    content = pictures.jpeg() if content is None else content
    try:
        header = read_header(content, connection.settings)
        changes = {"width": header.width, "height": header.height, **changes}
    except Problem:
        pass  # a damaged image on purpose
    made = spec(content, **changes)
    connection.objects.put_upload(made, content)
    connection.jobs.enqueue(made)
    return made


def mask_of(result: dict[str, Any]) -> tuple[Outcome, bytes]:
    """Return the outcome with this result, and the mask that carries it, as a worker stores them."""
    plain = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "3"}, result, {"infer": 3})
    mask = pictures.mask_png({OUTCOME_TEXT: plain.to_json()})
    return plain.with_digest(mask), mask


def older_state(connection: Storage, act: Callable[[], Any]) -> Any:
    """Return the result of `act`, then restore Redis to its state before `act`."""
    with redis.Redis.from_url(connection.settings.redis_url) as client:
        snapshot = {key: client.dump(key) for key in client.scan_iter("segue:*")}
        answer = act()
        client.flushall()
        for key, value in snapshot.items():
            client.restore(key, 0, value)
        client.mset(dict.fromkeys((keys.EPOCH, keys.KEYED), "the run id of the Redis before"))
    return answer
