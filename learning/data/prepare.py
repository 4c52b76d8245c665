"""Converts a photo and its mask to the form that data sets store."""

import io
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from model.data import thumbnail
from storage.model_files import sha256

SIDE = 256  # pixels of the shorter side; smaller photos keep their size
QUALITY = 95


@dataclass(frozen=True)
class Prepared:
    """`photo`: a JPEG in RGB; `mask`: a PNG of class ids in grey, of the same size; `thumbnail`: see `model.data`."""

    photo: bytes
    mask: bytes
    thumbnail: bytes

    @cached_property
    def photo_sha256(self) -> str:
        return sha256(self.photo)

    @cached_property
    def mask_sha256(self) -> str:
        return sha256(self.mask)


def prepare(photo: Image.Image, mask: Image.Image) -> Prepared:
    """`photo`: upright, in RGB; `mask`: class ids in mode L. Raises ValueError if their sizes differ."""
    if photo.size != mask.size:
        raise ValueError(f"the photo has {photo.width} x {photo.height} pixels, the mask {mask.width} x {mask.height}")
    scale = min(1.0, SIDE / min(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    if size != photo.size:
        photo, mask = photo.resize(size, Image.Resampling.LANCZOS), mask.resize(size, Image.Resampling.NEAREST)
    sides = io.BytesIO(), io.BytesIO()
    photo.save(sides[0], "JPEG", quality=QUALITY, subsampling=0)
    mask.save(sides[1], "PNG", optimize=True)
    return Prepared(sides[0].getvalue(), sides[1].getvalue(), thumbnail(photo))
