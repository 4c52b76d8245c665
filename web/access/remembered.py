"""A cache of database rows: it saves queries and bridges an outage of the database."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from storage.problems import Unavailable

MOST = 10_000
STALE_S = 3600  # during an outage, the longest time for which a cached row is used
RETRY_S = 5  # after a failed query, the pause before the next one

T = TypeVar("T")


@dataclass(frozen=True)
class _Seen(Generic[T]):
    row: T
    at: float


class Remembered(Generic[T]):
    """Caches rows by name. A change in the database takes effect within `fresh_s`.

    Names without a row are not cached: they would evict the others.
    """

    def __init__(self, query: Callable[[str], T | None], fresh_s: float) -> None:
        self._query, self._fresh_s = query, fresh_s
        self._seen: OrderedDict[str, _Seen[T]] = OrderedDict()
        self._querying = threading.Lock()
        self._failed_at: float | None = None  # set if the last query failed

    def knows(self, name: str) -> bool:
        """Return whether the name is cached. Callers limit the queries for unknown names only."""
        return name in self._seen

    def drop(self, name: str) -> None:
        """Forget a row that this process changed, so that the next `get` queries the database."""
        self._seen.pop(name, None)

    def get(self, name: str) -> T | None:
        """Return the row, None if there is none.

        During an outage, return the cached row; raises Unavailable if it is older than STALE_S.
        """
        if seen := self._fresh(name):
            return seen.row
        if self._failed_at is not None and (time.monotonic() < self._failed_at + RETRY_S or self._querying.locked()):
            return self._stale(name)
        # One query at a time: concurrent requests with the same name wait for one result.
        with self._querying:
            if seen := self._fresh(name):
                return seen.row
            if self._failed_at is not None and time.monotonic() < self._failed_at + RETRY_S:
                return self._stale(name)
            return self._fetch(name)

    def _fetch(self, name: str) -> T | None:
        now = time.monotonic()
        try:
            row = self._query(name)
        except Unavailable:
            self._failed_at = time.monotonic()
            return self._stale(name)
        self._failed_at = None
        self._seen.pop(name, None)
        if row is not None:
            self._seen[name] = _Seen(row, now)
            while len(self._seen) > MOST:
                self._seen.popitem(last=False)
        return row

    def _fresh(self, name: str) -> _Seen[T] | None:
        seen = self._seen.get(name)
        return seen if seen and time.monotonic() - seen.at < self._fresh_s else None

    def _stale(self, name: str) -> T:
        seen = self._seen.get(name)
        if seen is None or time.monotonic() - seen.at > STALE_S:
            raise Unavailable("credentials: the database is not responding")
        return seen.row
