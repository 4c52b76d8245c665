"""Renderings of a stored mask and photo, one function a format. Infer once, render on request.

The photo is the only picture of full size and three bytes a pixel or more: what lies over it comes in bands.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from storage.photos import confidence as confidence_chunk
from storage.photos.photo import BAND, decode
from storage.problems import Problem
from storage.settings import Settings
from web.rendering.classes import UNTINTED, Classes

JPEG_QUALITY = 88

Box = tuple[int, int, int, int]


def image(photo: bytes, settings: Settings) -> bytes:
    """What was uploaded, upright, its pixels and nothing else of it → JPEG."""
    return _encoded(_upright(photo, settings), "JPEG", quality=JPEG_QUALITY)


def overlay(photo: bytes, mask: bytes, classes: Classes, alpha: float, settings: Settings) -> bytes:
    """The upright photo with the classes' colours over it → JPEG. `alpha`: 0 (photo only) to 1 (colours only)."""
    tinted = _upright(photo, settings)
    shares = {entry["id"]: round(alpha * 255) for entry in classes if entry["name"] != UNTINTED}
    for box, band in _bands(mask):
        tinted.paste(band.convert("RGB"), box, _looked_up(band, shares))
    return _encoded(tinted, "JPEG", quality=JPEG_QUALITY)


def cutout(photo: bytes, mask: bytes, shown: Sequence[int], settings: Settings) -> bytes:
    """The upright photo where one of the classes `shown` is, transparent black elsewhere → RGBA PNG."""
    cut = _upright(photo, settings)
    cut.putalpha(255)
    hidden = {class_id: 255 for class_id in range(256) if class_id not in shown}
    for box, band in _bands(mask):
        cut.paste((0, 0, 0, 0), box, _looked_up(band, hidden))
    return _encoded(cut, "PNG", compress_level=1)


def ids(mask: bytes) -> bytes:
    """Class ids → grey PNG: for tools that would read the palette's colours instead of its indices."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        return _encoded(Image.frombytes("L", palette.size, palette.tobytes()), "PNG", compress_level=1)


def confidence(mask: bytes, size: tuple[int, int]) -> bytes:
    """The probability of the likeliest class at each pixel, 0 to 255 → grey PNG. Raises Problem `no_confidence`."""
    small = confidence_chunk.read(mask)
    if small is None:
        raise Problem("no_confidence", "A worker without confidence maps made this mask; submit the photo again.")
    return _encoded(small.resize(size, Image.Resampling.BILINEAR), "PNG", compress_level=1)


def rle(mask: bytes, classes: Classes) -> bytes:
    """Run lengths → JSON."""
    from web.rendering import vectors  # here, so that a web starts without numpy

    return vectors.rle(mask, classes)


def geojson(mask: bytes, classes: Classes) -> bytes:
    """Polygons → GeoJSON. Raises Problem `mask_too_detailed`."""
    from web.rendering import vectors

    return vectors.geojson(mask, classes)


def _upright(photo: bytes, settings: Settings) -> Image.Image:
    _, decoded = decode(photo, settings)
    decoded.info.clear()  # Pillow would write comments and colour profiles of the upload into what is made of it
    return decoded


def _bands(mask: bytes) -> Iterator[tuple[Box, Image.Image]]:
    """Pieces of the palette image, from top to bottom, and where they lie."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        for top in range(0, palette.height, BAND):
            box = (0, top, palette.width, min(palette.height, top + BAND))
            yield box, palette.crop(box)


def _looked_up(band: Image.Image, values: dict[int, int]) -> Image.Image:
    """Class ids → mode L, each as its value, 0 where it has none."""
    ids = Image.frombytes("L", band.size, band.tobytes())
    return ids.point([values.get(class_id, 0) for class_id in range(256)])


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
