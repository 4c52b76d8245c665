"""API keys as this process has seen them lately: few questions to the database, and none that an outage must answer."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from storage.problems import Unavailable
from storage.records.api_key import ApiKey

MOST_KEYS = 10_000
STALE_S = 3600  # for how long a key goes on while the database does not answer
RETRY_S = 5  # after which a database that did not answer is asked again


@dataclass(frozen=True)
class _Seen:
    key: ApiKey
    at: float


class KnownKeys:
    """A key that is revoked stops `fresh_s` later. Unknown keys are not remembered: they would drive out the known."""

    def __init__(self, ask: Callable[[str], ApiKey | None], fresh_s: float) -> None:
        self._ask, self._fresh_s = ask, fresh_s
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._asking = threading.Lock()
        self._failed_at: float | None = None  # of the last question, if the database did not answer it

    def knows(self, key_id: str) -> bool:
        """Whether it was seen before, so that only real keys cost questions without limit."""
        return key_id in self._seen

    def valid(self, key_id: str) -> ApiKey | None:
        """None for a revoked as for an unknown one. Raises Unavailable in an outage, for one not seen for an hour."""
        key = self._find(key_id)
        return key if key and not key.revoked_ms else None

    def _find(self, key_id: str) -> ApiKey | None:
        if seen := self._fresh(key_id):
            return seen.key
        if self._failed_at is not None and (time.monotonic() < self._failed_at + RETRY_S or self._asking.locked()):
            return self._stale(key_id)
        # One question at a time: the many who come with the same key wait for one answer.
        with self._asking:
            if seen := self._fresh(key_id):
                return seen.key
            if self._failed_at is not None and time.monotonic() < self._failed_at + RETRY_S:
                return self._stale(key_id)
            return self._asked(key_id)

    def _asked(self, key_id: str) -> ApiKey | None:
        now = time.monotonic()
        try:
            key = self._ask(key_id)
        except Unavailable:
            self._failed_at = time.monotonic()
            return self._stale(key_id)
        self._failed_at = None
        self._seen.pop(key_id, None)
        if key:
            self._seen[key_id] = _Seen(key, now)
            while len(self._seen) > MOST_KEYS:
                self._seen.popitem(last=False)
        return key

    def _fresh(self, key_id: str) -> _Seen | None:
        seen = self._seen.get(key_id)
        return seen if seen and time.monotonic() - seen.at < self._fresh_s else None

    def _stale(self, key_id: str) -> ApiKey:
        seen = self._seen.get(key_id)
        if seen is None or time.monotonic() - seen.at > STALE_S:
            raise Unavailable("API keys: the database is not responding")
        return seen.key
