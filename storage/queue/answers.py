"""Return values of the Redis Functions.

The value of each enumeration's member is the string that the Lua code returns.
"""

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """What `finish` did with a result. The winner gets `won` again if it repeats the call."""

    WON = "won"
    LOST = "lost"  # the job already ended differently, or was erased: discard this result
    SUPERSEDED = "superseded"  # another attempt holds the open job and may adopt this result
    UNKNOWN = "unknown"  # Redis lost data or went back to an older state: recovery will find the result object


class Lease(StrEnum):
    """The state of a lease when its holder renews it."""

    HELD = "held"
    CANCELED = "canceled"  # still held, but the holder must stop before the next stage
    LOST = "lost"


class Cancellation(StrEnum):
    """What `cancel` did. For a job that has ended, `cancel` returns the job's status instead."""

    LEASED = "leased"  # to the caller, who writes the result and finishes the job
    MARKED = "marked"  # the job is running; its holder stops before the next stage
    UNKNOWN = "unknown"  # Redis does not have the job


class Reservation(StrEnum):
    """The state of an idempotency key when a request reserves it."""

    RESERVED = "reserved"  # the request may continue, with the id that the key is bound to
    DONE = "done"  # the request was accepted before
    BUSY = "busy"  # another request with this key is being handled
    REUSED = "reused"  # the key belongs to a different request
    RECOVERING = "recovering"  # keys were lost and are being read from the object store


class Cause(StrEnum):
    """Why the sweeper ends a job."""

    CANCELED = "canceled"
    EXPIRED = "expired"
    POISONED = "poisoned"


@dataclass(frozen=True)
class Swept:
    """The result of one sweep: ids that were requeued, and (id, cause) of jobs leased to the
    sweeper to end.
    """

    put_back: list[str]
    ending: list[tuple[str, Cause]]
