"""Blocks of code that one process at a time may be in, over all machines."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from storage import keys
from storage.queue.functions import Functions


class Locks:
    def __init__(self, client: redis.Redis, functions: Functions) -> None:
        self._client, self._functions = client, functions

    @contextmanager
    def alone(self, name: str, at_most_s: float) -> Iterator[bool]:
        """Whether no other process is in the block of this name; held for `at_most_s` in case its holder dies."""
        token = keys.new_token()
        chosen = bool(self._client.set(keys.lock(name), token, nx=True, px=int(at_most_s * 1000)))
        try:
            yield chosen
        finally:
            if chosen:
                with suppress(redis.RedisError):  # it runs out by itself
                    self._functions("unlock", name, token)
