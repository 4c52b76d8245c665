"""One rendering of the largest photo and mask, in a process of its own: what it cost."""

import io
import time
from functools import cache
from pathlib import Path

import hostile
import numpy as np
import pictures
from examined import peak_mb
from PIL import Image

from storage.photos.confidence import CHUNK, pack
from storage.photos.photo import decode_mask
from storage.problems import Problem
from storage.settings import Settings
from web.rendering import renderings
from web.rendering.class_ids import class_ids

SIDE = 5000
SETTINGS = Settings()
CLASSES = [{"id": i, "name": name, "color": [i, 0, 0], "pixels": 1} for i, name in enumerate(("a", "background", "c"))]


@cache
def photo(name: str) -> bytes:
    return _noisy() if name == "jpeg noisy" else hostile.largest(name)


def _noisy() -> bytes:
    """Nearly as many bytes as are accepted, and nothing that a PNG could save."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    content = pictures.encoded(Image.fromarray(noise), quality=33)
    assert 8_000_000 < len(content) < SETTINGS.max_upload_bytes
    return content


@cache
def mask(name: str) -> bytes:
    """`smooth` blobs; `detailed`: nearly as many corners as polygons may have; `noisy`: every pixel by chance."""
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
    chunks.add(CHUNK, pack(bytes(range(128)) * 128, 128))
    return pictures.encoded(image, "PNG", pnginfo=chunks, compress_level=1)


def cost(format_: str, sent: bytes, stored: bytes) -> tuple[int, float, int, str]:
    """→ MB at the peak over what a process has that did nothing yet, CPU s, bytes of the answer, code of a refusal."""
    small = hostile.originals()["jpeg"]
    renderings.image(small, SETTINGS)  # libraries and decoders get loaded
    import web.rendering.vectors  # noqa: F401

    corrected_in_colours()

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = peak_mb(), time.process_time()
    try:
        size, code = len(_rendered(format_, sent, stored)), ""
    except Problem as problem:
        size, code = 0, problem.code
    return peak_mb() - before, time.process_time() - started, size, code


def _corrected() -> bytes:
    """A corrected mask in colours, read and written as the web does it."""
    ids = class_ids(decode_mask(corrected_in_colours(), SETTINGS), CLASSES)
    buffer = io.BytesIO()
    ids.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def corrected_in_colours() -> bytes:
    return pictures.encoded(Image.new("RGB", (SIDE, SIDE), (2, 0, 0)), "PNG", compress_level=1)


def _rendered(format_: str, sent: bytes, stored: bytes) -> bytes:
    if format_ == "overlay":
        return renderings.overlay(sent, stored, CLASSES, 0.5, SETTINGS)
    if format_ == "cutout":
        return renderings.cutout(sent, stored, (0, 1, 2), SETTINGS)
    if format_ == "image":
        return renderings.image(sent, SETTINGS)
    if format_ == "corrected":
        return _corrected()
    if format_ == "confidence":
        return renderings.confidence(stored, (SIDE, SIDE))
    return {"rle": renderings.rle, "geojson": renderings.geojson}[format_](stored, CLASSES)
