"""Limits how often an address may open a connection, so that a client that keeps reconnecting slows no other down."""

import math
import time
from dataclasses import dataclass

from limits import parse

BURST_S = 3.0  # an address that was quiet may open this many seconds' worth of connections at once
SITE_TIMES = 10  # an IPv6 /48 may open this many times as many as an address
MOST_BUCKETS = 10_000  # beyond that, full ones are forgotten once a second


@dataclass
class _Bucket:
    tokens: float
    filled_at: float
    full_at: float  # from then on it need not be remembered


class Arrivals:
    """A token bucket per address, and a larger one per IPv6 site, in this process.

    `limit`: such as `3000/minute`. The counters of web/access/rate_limits.py would cost more than
    refusing the connection.
    """

    def __init__(self, limit: str) -> None:
        parsed = parse(limit)
        self._per_s = parsed.amount / parsed.get_expiry()
        self._buckets: dict[str, _Bucket] = {}
        self._forgot_at = -math.inf

    def admit(self, owners: tuple[str, ...]) -> bool:
        """Whether `owners`, an address and its site, may open another connection; without owners, always."""
        now = time.monotonic()
        buckets = [self._filled(owner, times, now) for owner, times in zip(owners, (1, SITE_TIMES), strict=False)]
        if any(bucket.tokens < 1 for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.tokens -= 1
        return True

    def _filled(self, owner: str, times: int, now: float) -> _Bucket:
        most = max(1.0, self._per_s * BURST_S * times)
        if len(self._buckets) >= MOST_BUCKETS and now - self._forgot_at >= 1:
            self._forgot_at = now
            self._buckets = {name: one for name, one in self._buckets.items() if one.full_at > now}
        bucket = self._buckets.setdefault(owner, _Bucket(most, now, now))
        bucket.tokens = min(most, bucket.tokens + (now - bucket.filled_at) * self._per_s * times)
        bucket.filled_at = now
        bucket.full_at = now + (most - bucket.tokens + 1) / (self._per_s * times)
        return bucket
