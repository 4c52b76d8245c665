"""Rows of the database as this process has seen them lately: few questions, and none that an outage must answer."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from storage.problems import Unavailable

MOST = 10_000
STALE_S = 3600  # for how long a row is believed while the database does not answer
RETRY_S = 5  # after which a database that did not answer is asked again

T = TypeVar("T")


@dataclass(frozen=True)
class _Seen(Generic[T]):
    row: T
    at: float


class Remembered(Generic[T]):
    """A change in the database counts `fresh_s` later. Unknown names are not remembered: they would drive out the
    known.
    """

    def __init__(self, ask: Callable[[str], T | None], fresh_s: float) -> None:
        self._ask, self._fresh_s = ask, fresh_s
        self._seen: OrderedDict[str, _Seen[T]] = OrderedDict()
        self._asking = threading.Lock()
        self._failed_at: float | None = None  # of the last question, if the database did not answer it

    def knows(self, name: str) -> bool:
        """Whether it was seen before, so that only real names cost questions without limit."""
        return name in self._seen

    def drop(self, name: str) -> None:
        """It was changed here: ask anew."""
        self._seen.pop(name, None)

    def get(self, name: str) -> T | None:
        """None for an unknown one. Raises Unavailable in an outage, for one not seen for an hour."""
        if seen := self._fresh(name):
            return seen.row
        if self._failed_at is not None and (time.monotonic() < self._failed_at + RETRY_S or self._asking.locked()):
            return self._stale(name)
        # One question at a time: the many who come with the same name wait for one answer.
        with self._asking:
            if seen := self._fresh(name):
                return seen.row
            if self._failed_at is not None and time.monotonic() < self._failed_at + RETRY_S:
                return self._stale(name)
            return self._asked(name)

    def _asked(self, name: str) -> T | None:
        now = time.monotonic()
        try:
            row = self._ask(name)
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
