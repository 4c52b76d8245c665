"""Locks across all machines: one process at a time may run the block."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.exceptions import LockError
from redis.lock import Lock

from storage import keys


class TransactionLock(Lock):
    """redis-py's lock, released by a transaction, because no role may load redis-py's Lua script."""

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
            raise LockError("the lock expired, or Redis lost it", lock_name=str(self.name))


class Locks:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @contextmanager
    def alone(self, name: str, at_most_s: float) -> Iterator[bool]:
        """Try to take the lock without waiting; yields whether it was free.

        It expires after `at_most_s`.
        """
        lock = TransactionLock(self._client, keys.lock(name), timeout=at_most_s)
        chosen = bool(lock.acquire(blocking=False))
        try:
            yield chosen
        finally:
            with suppress(LockError):
                if chosen:
                    lock.release()
