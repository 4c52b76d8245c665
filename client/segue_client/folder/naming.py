"""Names the mask of each photo: the photo's path and a suffix, changed only if that name cannot be used."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from segue_client.folder.journal import NAME
from segue_client.folder.walk import Photo

LONGEST_NAME_BYTES = 255


def targets(photos: Iterable[Photo], suffix: str) -> dict[str, str]:
    """Return custom_id → relative path of the mask.

    No two are equal, and none is another's folder.
    """
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
    """`name` and `suffix`.

    A name too long for a file system is cut, and a digest keeps it unique.
    """
    whole = os.fsencode(name)
    if not digest and len(whole) + len(os.fsencode(suffix)) <= LONGEST_NAME_BYTES:
        return name + suffix
    end = f"~{hashlib.sha256(whole).hexdigest()[:16]}{suffix}"
    return whole[: LONGEST_NAME_BYTES - len(os.fsencode(end))].decode(errors="ignore") + end


def _beside(relative: str, suffix: str, *, digest: bool = False) -> str:
    parent, slash, name = relative.rpartition("/")
    return parent + slash + fitted(name, suffix, digest=digest)
