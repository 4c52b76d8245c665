"""Live workers, and the model versions that each has loaded."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import cast

import redis

from storage import keys
from storage.offer import EnginesReport
from storage.queue.epoch import server_ms

REPORTED_MS = 20_000
PROGRESS_MS = 24 * 3600 * 1000  # then a worker's last progress is removed: the worker is dead, or was idle for a day


class Workers:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def beat(self, worker: str, alive_ms: int, memory_bytes: int = 0) -> tuple[int, int]:
        """Mark the worker as alive for `alive_ms`. `memory_bytes`: of all its processes; 0 if unknown.

        Returns (tickets waiting, ms since its child last made progress).
        """
        now_ms = server_ms(self._client)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.WORKERS, {worker: now_ms + alive_ms})
            pipe.set(keys.memory(worker), memory_bytes, px=alive_ms)
            pipe.zremrangebyscore(keys.WORKERS, "-inf", now_ms)
            pipe.zremrangebyscore(keys.PROGRESS, "-inf", now_ms - PROGRESS_MS)
            pipe.llen(keys.SEGMENT_QUEUE)
            pipe.zscore(keys.PROGRESS, worker)
            *_, tickets, progress_ms = pipe.execute()
        return tickets, now_ms - int(progress_ms or 0)

    def report(self, worker: str, report: EnginesReport, refusing: Iterable[str], usable: Iterable[str]) -> None:
        """Publish the versions the worker has loaded.

        `refusing`: aliases and versions that it cannot use now; each expires after REPORTED_MS
        unless reported again. `usable`: those that it can use again.
        """
        now_ms = server_ms(self._client)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hset(keys.ENGINES, worker, json.dumps(asdict(report)))
            for name in refusing:
                pipe.zadd(keys.refusing(name), {worker: now_ms + REPORTED_MS})
                pipe.pexpire(keys.refusing(name), REPORTED_MS)
            for name in usable:
                pipe.zrem(keys.refusing(name), worker)
            pipe.execute()

    def memory_bytes(self) -> dict[str, int]:
        """Each live worker's memory; 0 if it is unknown."""
        live = cast(list[str], self._client.zrangebyscore(keys.WORKERS, server_ms(self._client), "+inf"))
        known = cast(list[str | None], self._client.mget(map(keys.memory, live))) if live else []
        return {worker: int(found or 0) for worker, found in zip(live, known, strict=True)}

    def reports(self) -> dict[str, EnginesReport]:
        """The last report of each live worker."""
        now_ms = server_ms(self._client)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrangebyscore(keys.WORKERS, now_ms, "+inf")
            pipe.hgetall(keys.ENGINES)
            live, reported = pipe.execute()
        gone = set(reported) - set(live)
        if gone:
            self._client.hdel(keys.ENGINES, *gone)
        return {worker: EnginesReport(**json.loads(reported[worker])) for worker in live if worker in reported}
