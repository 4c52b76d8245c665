"""What Redis holds of batches: the hash of each, its counts, its jobs in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from storage import keys
from storage.batch import BatchSpec
from storage.queue.jobs import TOMBSTONE_MS

CLOSED, CANCELED = "closed", "canceled"
COMPLETE_IN = "complete_in"  # run id of the Redis in which it is known to have all of its jobs
RATE_ITEMS = 64  # the pace is that of the last so many
PAGE = 500


@dataclass(frozen=True)
class Progress:
    """Jobs by status, the number of the last that ended, and the ids of those that ended lately."""

    counts: dict[str, int]
    latest: list[str]


class RedisBatches:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def fields(self, batch_id: str) -> dict[str, str]:
        """Empty for a batch that Redis does not know."""
        return cast(dict[str, str], self._client.hgetall(keys.batch(batch_id)))

    def remember(self, spec: BatchSpec, closed: str, run_id: str) -> dict[str, str]:
        """`run_id`: of the Redis in which it has all of its jobs."""
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
        """In the order they were sent, in pages."""
        start = 0
        while page := cast(list[str], self._client.zrange(keys.batch_jobs(batch_id), start, start + PAGE - 1)):
            yield page
            start += PAGE

    def ended(self, batch_id: str, after: int, most: int) -> list[tuple[str, int]]:
        """Up to `most` ended jobs with a number above `after`, in the order they ended, with their numbers."""
        found = self._client.zrange(
            keys.batch_done(batch_id), f"({after}", "+inf", byscore=True, offset=0, num=most, withscores=True
        )
        return [(job_id, int(number)) for job_id, number in cast(list[tuple[str, float]], found)]

    def erase(self, batch_id: str, tenant: str) -> None:
        parts = (keys.batch, keys.batch_counts, keys.batch_jobs, keys.batch_done)
        self._client.delete(*(part(batch_id) for part in parts))
        self._client.set(keys.gone(batch_id), tenant, px=TOMBSTONE_MS)

    def as_opened(self, batch_ids: Sequence[str]) -> list[tuple[BatchSpec, str]]:
        """Specs and how they were closed ("" while they are open) of those that Redis knows. One round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for batch_id in batch_ids:
                pipe.hmget(keys.batch(batch_id), "spec", CLOSED)
            return [(BatchSpec.from_json(spec), closed or "") for spec, closed in pipe.execute() if spec]
