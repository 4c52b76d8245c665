"""The time of this machine. Redis functions use the time of Redis instead."""

import time


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
