"""The deadline for the next bytes of a request."""

import time
from dataclasses import dataclass, field

GRACE_S = 10.0  # before this time no rate is required: a short stall is normal


@dataclass
class Pace:
    """A deadline and a minimum rate.

    All bytes must arrive within `longest_s` of the start. After GRACE_S, `received` must also keep
    up with `bytes_per_s`; 0 requires no rate.
    """

    longest_s: float
    bytes_per_s: float = 0
    received: int = 0
    started: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """Return the seconds left for the next byte; zero or negative if it is late."""
        allowed_s = self.longest_s
        if self.bytes_per_s:
            allowed_s = min(allowed_s, GRACE_S + self.received / self.bytes_per_s)
        return self.started + allowed_s - time.monotonic()
