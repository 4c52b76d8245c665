"""A Redis client that counts the calls which Redis did not answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.client import Pipeline

from telemetry.metrics import REDIS_ERRORS


class CountingRedis(redis.Redis):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        with _counted():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return CountingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class CountingPipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with _counted():
            return super().execute(raise_on_error)


@contextmanager
def _counted() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError):
        REDIS_ERRORS.inc()
        raise
