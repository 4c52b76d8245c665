"""Blocks of code that one process at a time may be in, over all machines."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.exceptions import LockError
from redis.lock import Lock

from storage import keys


class TransactionLock(Lock):
    """redis-py's lock, released by a transaction: no role may load the library's Lua script."""

    def register_scripts(self) -> None:
        pass

    def do_release(self, expected_token: Any) -> None:
        encode = self.redis.get_encoder().encode

        def release(pipe: Any) -> bool:
            held = pipe.get(self.name)
            owned = held is not None and encode(held) == encode(expected_token)
            pipe.multi()
            if owned:
                pipe.delete(self.name)
            return owned

        if not self.redis.transaction(release, self.name, value_from_callable=True):
            raise LockError("the lock ran out, or went with the rest of Redis", lock_name=str(self.name))


class Locks:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @contextmanager
    def alone(self, name: str, at_most_s: float) -> Iterator[bool]:
        """Whether no other process is in the block of this name; held for `at_most_s` in case its holder dies."""
        lock = TransactionLock(self._client, keys.lock(name), timeout=at_most_s)
        chosen = bool(lock.acquire(blocking=False))
        try:
            yield chosen
        finally:
            with suppress(LockError):
                if chosen:
                    lock.release()
