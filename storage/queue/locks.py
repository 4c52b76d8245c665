"""Locks across all machines: one process at a time may run the block."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import redis
from redis.exceptions import LockError
from redis.lock import Lock

from storage import keys

log = logging.getLogger(__name__)


class TransactionLock(Lock):
    """redis-py's lock, released and renewed by transactions, because no role may load redis-py's Lua script."""

    def register_scripts(self) -> None:
        pass

    def do_release(self, expected_token: Any) -> None:
        self._if_owned(expected_token, lambda pipe: pipe.delete(self.name))

    def do_reacquire(self) -> Literal[True]:
        lasts_ms = round(float(self.timeout or 0) * 1000)
        self._if_owned(self.local.token, lambda pipe: pipe.pexpire(self.name, lasts_ms))
        return True

    def _if_owned(self, expected_token: Any, act: Callable[[Any], object]) -> None:
        """Run one command if this process still holds the lock. Raises LockError if it is not."""
        encode = self.redis.get_encoder().encode

        def acted(pipe: Any) -> bool:
            held = pipe.get(self.name)
            owned = held is not None and encode(held) == encode(expected_token)
            pipe.multi()
            if owned:
                act(pipe)
            return owned

        if not self.redis.transaction(acted, self.name, value_from_callable=True):
            raise LockError("the lock expired, or Redis lost it", lock_name=str(self.name))


class LeaseLost(Exception):
    """Another process holds the lease now."""


class Lease:
    """A lock that its holder renews as its work progresses."""

    def __init__(self, lock: TransactionLock, lasts_s: float) -> None:
        self._lock, self._lasts_s = lock, lasts_s
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Call it often: it asks Redis at most once in a quarter of the lease's time.

        Takes an expired lease again, unless another process holds it by now: then raises LeaseLost. Does nothing while
        Redis does not answer.
        """
        if time.monotonic() - self._renewed < self._lasts_s / 4:
            return
        try:
            self._renew()
        except redis.RedisError as error:
            log.warning("lease_not_renewed", extra={"lease": self._lock.name, "error": type(error).__name__})
        self._renewed = time.monotonic()

    def _renew(self) -> None:
        try:
            self._lock.reacquire()
        except LockError:
            if not self._lock.acquire(blocking=False):
                raise LeaseLost(f"another process holds {self._lock.name}") from None


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

    @contextmanager
    def lease(self, key: str, lasts_s: float) -> Iterator[Lease | None]:
        """Take the lease `key`, a whole Redis key, without waiting; yields None if another process holds it."""
        lock = TransactionLock(self._client, key, timeout=lasts_s)
        lease = Lease(lock, lasts_s) if lock.acquire(blocking=False) else None
        try:
            yield lease
        finally:
            with suppress(LockError, redis.RedisError):  # it expires by itself
                if lease:
                    lock.release()
