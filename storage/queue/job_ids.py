"""Sets of job ids in Redis: the open ones, those that are kept, those that were erased."""

from collections.abc import Iterator, Sequence
from typing import cast

import redis

from storage import keys
from storage.keys import Lane
from storage.queue.epoch import server_ms

PAGE = 500  # ids per call: Redis does nothing else meanwhile


class JobIds:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def open(self) -> Iterator[list[str]]:
        """Every job that has not ended, in pages."""
        yield from self._members(keys.OPEN)

    def unfinished(self) -> set[str]:
        """The same, and what waits or is leased although the list of open jobs was lost."""
        every = (keys.OPEN, *map(keys.lane, Lane), *map(keys.leases, Lane))
        return {job_id for key in every for page in self._members(key) for job_id in page}

    def retained(self) -> Iterator[list[str]]:
        """Every ended job that is kept, in pages."""
        yield from self._members(keys.RETAINED)

    def due(self, at_most: int = PAGE) -> list[str]:
        """Ended jobs whose retention is over."""
        now_ms = server_ms(self._client)
        ids = self._client.zrange(keys.RETAINED, "-inf", now_ms, byscore=True, offset=0, num=at_most)
        return cast(list[str], ids)

    def not_due(self, job_ids: Sequence[str]) -> None:
        self._client.zrem(keys.RETAINED, *job_ids)

    def tenant_of_erased(self, name: str) -> str | None:
        """The tenant of an erased job or batch, while that is remembered."""
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
