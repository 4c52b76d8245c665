"""Reserve the name of a batch's item for one image, before the image is stored."""

from enum import StrEnum

# Lifetime of a binding whose request died before the item got its job hash. As for idempotency keys.
BINDING_MS = 24 * 3600 * 1000


class Binding(StrEnum):
    """The return values of `storage/queue/lua/bind.lua`."""

    NEW = "new"  # the name was free
    REPEATED = "repeated"  # another part or request is storing the same image, or died while doing so
    KNOWN = "known"  # the same image was accepted before
    OTHER = "other"  # the name belongs to another image
    RECOVERING = "recovering"  # Redis may have lost the item that had this name
