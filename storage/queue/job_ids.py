"""Sets of job ids in Redis: open, retained and erased jobs."""

from collections.abc import Iterator, Sequence
from typing import cast

import redis

from storage import keys
from storage.keys import Lane
from storage.queue.epoch import server_ms

PAGE = 500  # ids per call; Redis is blocked during a call


class JobIds:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def open(self) -> Iterator[list[str]]:
        """All open jobs, in pages."""
        yield from self._members(keys.OPEN)

    def unfinished(self) -> set[str]:
        """All open jobs, and jobs that wait or are leased but are missing from the set of open
        jobs.
        """
        every = (keys.OPEN, *map(keys.lane, Lane), *map(keys.leases, Lane))
        return {job_id for key in every for page in self._members(key) for job_id in page}

    def retained(self) -> Iterator[list[str]]:
        """All ended jobs that have not been erased, in pages."""
        yield from self._members(keys.RETAINED)

    def due(self, at_most: int = PAGE) -> list[str]:
        """Ended jobs whose retention has passed, longest overdue first."""
        now_ms = server_ms(self._client)
        ids = self._client.zrange(keys.RETAINED, "-inf", now_ms, byscore=True, offset=0, num=at_most)
        return cast(list[str], ids)

    def unretain(self, job_ids: Sequence[str]) -> None:
        """Remove the jobs from the set of retained jobs, so that `due` does not return them again."""
        self._client.zrem(keys.RETAINED, *job_ids)

    def postpone(self, job_ids: Sequence[str], by_ms: int) -> None:
        """Make those of the jobs that are still retained due again in `by_ms`."""
        if job_ids:
            self._client.zadd(keys.RETAINED, dict.fromkeys(job_ids, server_ms(self._client) + by_ms), xx=True)

    def tenant_of_erased(self, name: str) -> str | None:
        """The tenant of an erased job or batch; None if it was not erased, or longer ago than
        TOMBSTONE_MS.
        """
        return cast(str | None, self._client.get(keys.gone(name)))

    def erased_among(self, names: Sequence[str]) -> list[str]:
        if not names:
            return []
        tenants = cast(list[str | None], self._client.mget([keys.gone(name) for name in names]))
        return [name for name, tenant in zip(names, tenants, strict=True) if tenant]

    def unknown(self, job_ids: Sequence[str]) -> list[str]:
        """The ids without a job hash."""
        with self._client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.exists(keys.job(job_id))
            return [job_id for job_id, there in zip(job_ids, pipe.execute(), strict=True) if not there]

    def _members(self, key: str) -> Iterator[list[str]]:
        cursor = 0
        while True:
            cursor, page = cast(tuple[int, list[tuple[str, float]]], self._client.zscan(key, cursor, count=PAGE))
            yield [job_id for job_id, _ in page]
            if not cursor:
                return
