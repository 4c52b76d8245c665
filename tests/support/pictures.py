"""Synthetic photos, and ways to damage them."""

import io
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ORIENTATION = 274


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A smooth, asymmetric photo: every rotation of it is a different picture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    return encoded(photo(width, height, seed), quality=90)


def mask_png(text: dict[str, str]) -> bytes:
    chunks = PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    return encoded(Image.new("P", (4, 3)), "PNG", pnginfo=chunks)


def truncated_jpeg() -> bytes:
    """A JPEG with a valid header and half of its pixel data."""
    whole = jpeg(256, 256)
    return whole[: len(whole) // 2]


def with_orientation(upright: Image.Image, tag: int, **options: Any) -> bytes:
    """The photo as the camera stores it: EXIF orientation `tag` turns it into `upright`."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(back[tag]) if tag in back else upright
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    return encoded(stored, exif=exif.tobytes(), **options)
