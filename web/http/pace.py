"""When the next bytes of a request must have arrived."""

import time
from dataclasses import dataclass, field

GRACE_S = 10.0  # a connection that hesitates is not slow yet


@dataclass
class Pace:
    """A deadline `longest_s` after the start, and before it a rate: after GRACE_S the bytes received
    must not fall behind `bytes_per_s`.
    """

    longest_s: float
    bytes_per_s: float = 0
    received: int = 0
    started: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """The seconds that the client has for its next byte; not positive when it is late."""
        allowed_s = self.longest_s
        if self.bytes_per_s:
            allowed_s = min(allowed_s, GRACE_S + self.received / self.bytes_per_s)
        return self.started + allowed_s - time.monotonic()
