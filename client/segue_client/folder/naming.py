"""Where the mask of each photo goes: its path and a suffix, changed only where that cannot be a file's name."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from segue_client.folder.journal import NAME
from segue_client.folder.walk import Photo

LONGEST_NAME_BYTES = 255


def targets(photos: Iterable[Photo], suffix: str) -> dict[str, str]:
    """custom_id → relative path of the mask. No two are the same, and none is a folder of another."""
    photos = list(photos)
    folders = {str(parent) for photo in photos for parent in PurePosixPath(photo.relative).parents}
    taken, found = folders | {NAME}, {}
    for photo in photos:
        plain = _beside(photo.relative, suffix)
        target = plain if plain not in taken else _beside(photo.relative, suffix, digest=True)
        taken.add(target)
        found[photo.custom_id] = target
    return found


def fitted(name: str, suffix: str, *, digest: bool = False) -> str:
    """`name` and `suffix`; what is too long for a file system is cut, with a digest to tell it from its like."""
    whole = os.fsencode(name)
    if not digest and len(whole) + len(os.fsencode(suffix)) <= LONGEST_NAME_BYTES:
        return name + suffix
    end = f"~{hashlib.sha256(whole).hexdigest()[:16]}{suffix}"
    return whole[: LONGEST_NAME_BYTES - len(os.fsencode(end))].decode(errors="ignore") + end


def _beside(relative: str, suffix: str, *, digest: bool = False) -> str:
    parent, slash, name = relative.rpartition("/")
    return parent + slash + fitted(name, suffix, digest=digest)
