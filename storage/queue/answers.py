"""What the functions in Redis answer. Each member is the word that the Lua code returns."""

from enum import StrEnum


class Ending(StrEnum):
    """What became of a result that was handed in. `won` is repeated for the winner's repetition."""

    WON = "won"
    LOST = "lost"  # the job already ended differently, or was erased: discard this result
    SUPERSEDED = "superseded"  # another attempt holds the open job and may adopt this result
    UNKNOWN = "unknown"  # Redis was lost, or an older state is back: the result object will be found


class Lease(StrEnum):
    """How a lease stands when its holder renews it."""

    HELD = "held"
    CANCELED = "canceled"  # still held; its holder is to stop before the next stage
    LOST = "lost"


class Cancellation(StrEnum):
    """Where a cancellation stands; a job that had ended answers with its status instead."""

    LEASED = "leased"  # to the caller, who writes the result and finishes the job
    MARKED = "marked"  # it runs: its holder stops before the next stage
    UNKNOWN = "unknown"


class Reservation(StrEnum):
    """What an idempotency key is bound to."""

    RESERVED = "reserved"  # go on under the key's id
    DONE = "done"  # it was accepted before
    BUSY = "busy"  # another request with this key is being handled
    REUSED = "reused"  # the key came with another request before
    RECOVERING = "recovering"  # keys were lost and are being read from the object store


class Verdict(StrEnum):
    """Why the sweeper ends a job."""

    CANCELED = "canceled"
    EXPIRED = "expired"
    POISONED = "poisoned"
