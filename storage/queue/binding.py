"""Whether an image may be stored under the name of a batch's item: asked before it is stored."""

from enum import StrEnum

# A binding whose request died before the item got its job hash. As long as an idempotency key lives.
BINDING_MS = 24 * 3600 * 1000


class Binding(StrEnum):
    """`storage/queue/lua/bind.lua` answers one of these."""

    NEW = "new"  # nothing had this name
    REPEATED = "repeated"  # another part or request stores the same image right now, or died over it
    KNOWN = "known"  # the same image was accepted before
    OTHER = "other"  # the name belongs to another image
    RECOVERING = "recovering"  # Redis may have lost the name
