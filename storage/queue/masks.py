"""Copies of masks in Redis, for clients that wait for their jobs.

A worker stores each mask in the object store. If a client waits for the job, the worker also hands a copy
over, which saves the web server a request to the object store. Without a copy, it makes that request. So
nothing depends on copies, and they may be lost.
"""

from typing import cast

import redis
from redis.client import NEVER_DECODE

from storage import clock, keys
from storage.job import Job

COPY_MS = 10_000  # the lifetime of a copy, and the period for which COPY_BYTES holds
MOST_BYTES = 1024 * 1024  # a larger mask would hold up other clients of Redis


def copyable(mask: bytes) -> bytes:
    """The mask, or b"" if it is too large to be copied."""
    return mask if len(mask) <= MOST_BYTES else b""


class MaskCopies:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def take(self, job: Job) -> bytes | None:
        """Remove and return the copy of an ended job's mask; None if there is none.

        Raises redis.RedisError if Redis does not answer.
        """
        if not job.awaited or clock.now_ms() - job.finished_ms > COPY_MS:
            return None
        taken = self._client.execute_command("GETDEL", keys.mask(job.id), **{NEVER_DECODE: []})  # type: ignore[no-untyped-call]
        return cast("bytes | None", taken)
