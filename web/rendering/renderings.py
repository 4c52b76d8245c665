"""Renderings of a stored mask and photo, one function per format.

Only the photo is held at full size with three or more bytes per pixel. The colours laid over it are
computed in bands.
"""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from PIL import Image, ImageChops

from storage.photos.class_ids import served_ids
from storage.photos.confidence import BACKGROUND, CONFIDENCE, read
from storage.photos.photo import BAND, decode
from storage.problems import Problem
from storage.result import ClassShare
from storage.settings import Settings
from web.rendering.classes import UNTINTED

JPEG_QUALITY = 88

Box = tuple[int, int, int, int]


def image(photo: bytes, settings: Settings) -> bytes:
    """Return the upright photo as JPEG, with only the pixels of the upload and no metadata."""
    return encoded(_upright(photo, settings), "JPEG", quality=JPEG_QUALITY)


def overlay(photo: bytes, mask: bytes, classes: Sequence[ClassShare], alpha: float, settings: Settings) -> bytes:
    """Return the upright photo, tinted in the classes' colours, as JPEG.

    `alpha`: 0 (photo only) to 1 (colours only).
    """
    tinted = _upright(photo, settings)
    shares = {entry["id"]: round(alpha * 255) for entry in classes if entry["name"] != UNTINTED}
    for box, band in _bands(mask):
        tinted.paste(band.convert("RGB"), box, _looked_up(band, shares))
    return encoded(tinted, "JPEG", quality=JPEG_QUALITY)


def cutout(photo: bytes, mask: bytes, shown: Sequence[int], settings: Settings) -> bytes:
    """Return an RGBA PNG: the upright photo at the classes `shown`, transparent black elsewhere."""
    cut = _upright(photo, settings)
    cut.putalpha(255)
    hidden = {class_id: 255 for class_id in range(256) if class_id not in shown}
    for box, band in _bands(mask):
        cut.paste((0, 0, 0, 0), box, _looked_up(band, hidden))
    return encoded(cut, "PNG", compress_level=1)


def soft(photo: bytes, mask: bytes, settings: Settings) -> bytes:
    """Return an RGBA PNG: the upright photo, as opaque as the model thinks it unlikely to be background.

    Raises Problem `no_confidence`.
    """
    cut = _upright(photo, settings)
    cut.putalpha(ImageChops.invert(_probability(mask, BACKGROUND, cut.size)))
    return encoded(cut, "PNG", compress_level=1)


def ids(mask: bytes) -> bytes:
    """Return class ids as a grey PNG, for tools that read a palette's colours instead of its indices."""
    return encoded(served_ids(mask), "PNG", compress_level=1)


def confidence(mask: bytes, size: tuple[int, int]) -> bytes:
    """Return the probability of the likeliest class per pixel, 0 to 255, as a grey PNG.

    `size`: width, height. Raises Problem `no_confidence`.
    """
    return encoded(sureness(mask, size), "PNG", compress_level=1)


def sureness(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """The confidence in a mask at the mask's size, mode L. Raises Problem `no_confidence`."""
    return _probability(mask, CONFIDENCE, size)


def looked_up(mask: bytes, values: dict[int, int]) -> Image.Image:
    """Map the class ids of a whole mask to `values` (mode L); ids without a value become 0."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        return _looked_up(palette, values)


def rle(mask: bytes, classes: Sequence[ClassShare]) -> bytes:
    """Return run lengths as JSON."""
    from web.rendering import vectors  # here, so that a web process starts without numpy

    return vectors.rle(mask, classes)


def geojson(mask: bytes, classes: Sequence[ClassShare]) -> bytes:
    """Return polygons as GeoJSON. Raises Problem `mask_too_detailed`."""
    from web.rendering import vectors

    return vectors.geojson(mask, classes)


def _probability(mask: bytes, chunk: bytes, size: tuple[int, int]) -> Image.Image:
    small = read(mask, chunk)
    if small is None:
        raise Problem("no_confidence", "The worker or the model version that made this mask stored no such map.")
    return small.resize(size, Image.Resampling.BILINEAR)


def _upright(photo: bytes, settings: Settings) -> Image.Image:
    _, decoded = decode(photo, settings)
    decoded.info.clear()  # otherwise Pillow copies the upload's comments and colour profile into its output
    return decoded


def _bands(mask: bytes) -> Iterator[tuple[Box, Image.Image]]:
    """Yield horizontal bands of the palette image, from top to bottom, each with its box."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        for top in range(0, palette.height, BAND):
            box = (0, top, palette.width, min(palette.height, top + BAND))
            yield box, palette.crop(box)


def _looked_up(band: Image.Image, values: dict[int, int]) -> Image.Image:
    """Map class ids to `values` (mode L); ids without a value become 0."""
    ids = Image.frombytes("L", band.size, band.tobytes())
    return ids.point([values.get(class_id, 0) for class_id in range(256)])


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    with _buffer() as buffer:
        picture.save(buffer, kind, **options)
        buffer.seek(0)
        return buffer.read()


def _buffer() -> BinaryIO:
    """A file in memory. Pillow releases the GIL while it writes a JPEG to a file descriptor, but not to a BytesIO."""
    if sys.platform == "linux":
        return open(os.memfd_create("rendering"), "w+b")
    return io.BytesIO()
