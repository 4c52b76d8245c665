"""Idempotency keys: a repeated request returns the job or batch that the first one created.

draft-ietf-httpapi-idempotency-key
"""

import hashlib
from dataclasses import replace
from typing import TypeVar

from flask import request

from storage.batch import BatchSpec
from storage.job import Spec
from storage.problems import Problem
from storage.queue.answers import Reservation
from storage.queue.jobs import RedisJobs

RECOVERING_RETRY_S = 2

S = TypeVar("S", Spec, BatchSpec)


def with_key(spec: S, body: str) -> S:
    """Return `spec` with the hash of the request's Idempotency-Key and a fingerprint of `body`.

    The hash covers the method and the path. Without a key, return `spec` unchanged.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return spec
    return replace(spec, key_hash=_short(f"{request.method} {request.path} {key}"), fingerprint=_short(body))


def reserve(jobs: RedisJobs, spec: S) -> tuple[S, bool]:
    """Reserve the spec's idempotency key in Redis.

    Return the spec with the id that belongs to the key, and whether an earlier request with the key
    was accepted. Raises Problem if the first request still runs, if it had another body, or while
    keys are being restored.
    """
    if not spec.key_hash:
        return spec, False
    state, known_id = jobs.idempotency.reserve(spec)
    if state is Reservation.REUSED:
        raise Problem("idempotency_key_reused", "The same Idempotency-Key was sent with another body or other options.")
    if state is Reservation.RECOVERING:
        raise Problem("unavailable", "Idempotency keys are being restored after a loss of Redis.", RECOVERING_RETRY_S)
    if state is Reservation.BUSY:
        raise Problem("idempotency_in_progress", "The first request with this key is still running.", 1)
    return replace(spec, id=known_id), state is Reservation.DONE


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
