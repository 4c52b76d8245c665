"""Render the largest photo and mask once, in a separate process, and report the cost."""

import io
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pictures
from examined import peak_mb
from PIL import Image

from storage.photos.class_ids import class_ids
from storage.photos.confidence import BACKGROUND, CONFIDENCE, pack
from storage.photos.photo import decode_mask
from storage.problems import Problem
from storage.settings import Settings
from web.rendering import regions, renderings

SIDE = 5000
SETTINGS = Settings()
CLASSES: list[dict[str, Any]] = [
    {"id": i, "name": name, "color": [i, 0, 0], "pixels": 1} for i, name in enumerate(("a", "background", "c"))
]
CLASSES[0]["regions"] = {"inner": 0.9, "outer": 0.6}


@cache
def photo(name: str) -> bytes:
    return _noisy() if name == "jpeg noisy" else hostile.largest(name)


def _noisy() -> bytes:
    """A photo of nearly the most bytes that are accepted, which PNG cannot compress."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    content = pictures.encoded(Image.fromarray(noise), quality=33)
    assert 8_000_000 < len(content) < SETTINGS.max_upload_bytes
    return content


@cache
def mask(name: str) -> bytes:
    """A mask: `smooth` blobs; `detailed`: nearly the most corners that polygons may have;
    `noisy`: random pixels."""
    rng = np.random.default_rng(1)
    if name == "noisy":
        ids = rng.integers(0, 3, (SIDE, SIDE), np.uint8)
    elif name == "detailed":
        ids = np.ones((SIDE, SIDE), np.uint8)
        ids[1 : 2 * 176 : 2, 1 : 2 * 176 : 2] = 0
        ids[1 : 2 * 176 : 2, 4001 : 4001 + 2 * 176 : 2] = 2
    else:
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        ids = np.asarray(coarse) // 86
    image, chunks = Image.frombytes("P", (SIDE, SIDE), ids.tobytes()), pictures.PngInfo()
    image.putpalette(bytes(range(9)))
    for chunk in (CONFIDENCE, BACKGROUND):
        chunks.add(chunk, pack(bytes(range(128)) * 128, 128))
    return pictures.encoded(image, "PNG", pnginfo=chunks, compress_level=1)


def cost(format_: str, sent: bytes, stored: bytes) -> tuple[int, float, int, str]:
    """Return the peak in MB over an idle process, CPU seconds, size in bytes, and problem code."""
    small = hostile.originals()["jpeg"]
    renderings.image(small, SETTINGS)  # load libraries and decoders before the measurement
    import web.rendering.vectors  # noqa: F401

    corrected_in_colours()

    Path("/proc/self/clear_refs").write_text("5")  # reset the peak of the resident memory
    before, started = peak_mb(), time.process_time()
    try:
        size, code = len(_rendered(format_, sent, stored)), ""
    except Problem as problem:
        size, code = 0, problem.code
    return peak_mb() - before, time.process_time() - started, size, code


def _corrected() -> bytes:
    """A corrected mask in colours, read and written as the web process does it."""
    ids = class_ids(decode_mask(corrected_in_colours(), SETTINGS), CLASSES)
    buffer = io.BytesIO()
    ids.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def corrected_in_colours() -> bytes:
    return pictures.encoded(Image.new("RGB", (SIDE, SIDE), (2, 0, 0)), "PNG", compress_level=1)


def _rendered(format_: str, sent: bytes, stored: bytes) -> bytes:
    size = (SIDE, SIDE)
    renderers: dict[str, Callable[[], bytes]] = {
        "overlay": lambda: renderings.overlay(sent, stored, CLASSES, 0.5, SETTINGS),
        "cutout": lambda: renderings.cutout(sent, stored, (0, 1, 2), SETTINGS),
        "soft": lambda: renderings.soft(sent, stored, SETTINGS),
        "image": lambda: renderings.image(sent, SETTINGS),
        "corrected": _corrected,
        "confidence": lambda: renderings.confidence(stored, size),
        "inner": lambda: regions.inner(stored, CLASSES, (0,), size),
        "outer": lambda: regions.outer(stored, CLASSES, (0,), size),
        "rle": lambda: renderings.rle(stored, CLASSES),
        "geojson": lambda: renderings.geojson(stored, CLASSES),
    }
    return renderers[format_]()
