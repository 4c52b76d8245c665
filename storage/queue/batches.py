"""Batches in Redis: each has a hash, its counts and its jobs in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from storage import keys
from storage.batch import BatchSpec
from storage.queue.jobs import TOMBSTONE_MS

CLOSED, CANCELED = "closed", "canceled"
COMPLETE_IN = "complete_in"  # run id of the Redis server that is known to have all jobs of the batch
RATE_ITEMS = 64  # the rate is measured over the last so many items
PAGE = 500


@dataclass(frozen=True)
class Progress:
    """`counts`: jobs by status, and `last`, the number of the last ending; `latest`: ids that ended
    most recently.
    """

    counts: dict[str, int]
    latest: list[str]


class RedisBatches:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def fields(self, batch_id: str) -> dict[str, str]:
        """The hash of a batch; empty if Redis does not have it."""
        return cast(dict[str, str], self._client.hgetall(keys.batch(batch_id)))

    def remember(self, spec: BatchSpec, closed: str, run_id: str) -> dict[str, str]:
        """Write and return the hash.

        `run_id`: of the Redis server that has all jobs of the batch.
        """
        fields = {"tenant": spec.tenant, "spec": spec.to_json(), CLOSED: closed, COMPLETE_IN: run_id}
        self._client.hset(keys.batch(spec.id), mapping=fields)  # type: ignore[arg-type]
        return fields

    def close(self, batch_id: str, how: str) -> None:
        self._client.hset(keys.batch(batch_id), CLOSED, how)
        self._client.publish(keys.EVENTS, f"- {how} {batch_id}")

    def progress(self, batch_id: str) -> Progress:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.batch_counts(batch_id))
            pipe.zrange(keys.batch_done(batch_id), -RATE_ITEMS, -1)
            counts, latest = pipe.execute()
        return Progress({name: int(count) for name, count in counts.items()}, latest)

    def job_ids(self, batch_id: str) -> Iterator[list[str]]:
        """The ids in order of creation, in pages."""
        start = 0
        while page := cast(list[str], self._client.zrange(keys.batch_jobs(batch_id), start, start + PAGE - 1)):
            yield page
            start += PAGE

    def ended(self, batch_id: str, after: int, most: int) -> list[tuple[str, int]]:
        """Up to `most` ended jobs numbered above `after`, each with its number, in the order they
        ended.
        """
        found = self._client.zrange(
            keys.batch_done(batch_id), f"({after}", "+inf", byscore=True, offset=0, num=most, withscores=True
        )
        return [(job_id, int(number)) for job_id, number in cast(list[tuple[str, float]], found)]

    def erase(self, batch_id: str, tenant: str) -> None:
        parts = (keys.batch, keys.batch_counts, keys.batch_jobs, keys.batch_done)
        self._client.delete(*(part(batch_id) for part in parts))
        self._client.set(keys.gone(batch_id), tenant, px=TOMBSTONE_MS)

    def as_opened(self, batch_ids: Sequence[str]) -> list[tuple[BatchSpec, str]]:
        """The specs of those batches that Redis has, each with how it was closed.

        "" while it is open. Takes one round trip.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for batch_id in batch_ids:
                pipe.hmget(keys.batch(batch_id), "spec", CLOSED)
            return [(BatchSpec.from_json(spec), closed or "") for spec, closed in pipe.execute() if spec]
