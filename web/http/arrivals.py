"""Limits how often an address may open a connection, so that one that keeps reconnecting costs others little."""

import time
from dataclasses import dataclass

from limits import parse

BURST_S = 3.0  # an address that was quiet may open this many seconds' worth of connections at once
MOST_ADDRESSES = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Arrivals:
    """A token bucket per address, in this process.

    `limit`: such as `1200/minute`. The counters of web/access/rate_limits.py would cost more than
    refusing the connection.
    """

    def __init__(self, limit: str) -> None:
        parsed = parse(limit)
        self._per_s = parsed.amount / parsed.get_expiry()
        self._most = max(1.0, self._per_s * BURST_S)
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, owners: tuple[str, ...]) -> bool:
        """Whether the address, the first of `owners`, may open another connection. Without owners, always True."""
        if not owners:
            return True
        now = time.monotonic()
        bucket = self._bucket(owners[0], now)
        bucket.tokens = min(self._most, bucket.tokens + (now - bucket.filled_at) * self._per_s)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _bucket(self, address: str, now: float) -> _Bucket:
        if address not in self._buckets and len(self._buckets) >= MOST_ADDRESSES:
            full_again = now - BURST_S
            self._buckets = {name: one for name, one in self._buckets.items() if one.filled_at > full_again}
        return self._buckets.setdefault(address, _Bucket(self._most, now))
