"""Jobs whose training copies are being erased. A mark outlives the request that made it.

While a job is marked, no training copy of it may remain: a process that accepts the job looks for the
mark after its last write, and then removes what it wrote. The janitor erases the copies of a marked job
once more before it removes the mark, so an interrupted erasure is completed.
"""

from typing import cast

import redis

from storage import keys
from storage.keys import Owner
from storage.queue.epoch import server_ms


class Erasing:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def mark(self, tenant: str, job_id: str) -> None:
        self._client.zadd(keys.ERASING, {f"{tenant}/{job_id}": server_ms(self._client)})

    def unmark(self, tenant: str, job_id: str) -> None:
        self._client.zrem(keys.ERASING, f"{tenant}/{job_id}")

    def marked(self, tenant: str, job_id: str) -> bool:
        return self._client.zscore(keys.ERASING, f"{tenant}/{job_id}") is not None

    def since(self, at_least_ms: int) -> list[Owner]:
        """Tenant and id of the jobs that were marked at least `at_least_ms` ago."""
        latest = server_ms(self._client) - at_least_ms
        members = cast(list[str], self._client.zrange(keys.ERASING, "-inf", latest, byscore=True))
        return [(tenant, job_id) for tenant, _, job_id in (member.partition("/") for member in members)]
