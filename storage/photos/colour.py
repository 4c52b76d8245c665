"""Colours by the photo's ICC profile: a wide-gamut, grey or CMYK photo becomes sRGB, as a browser shows it.

A profile that is broken, hostile, for another kind of pixels, or sRGB itself changes nothing.
"""

import io
import itertools
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}  # Pillow's modes and the profile's signatures (ICC.1, 7.2.6)
NEAR = 2  # levels of 255; a profile that moves no colour further is sRGB under another name
MOST_TAGS = 100  # Little CMS reads no more
KEPT = 8  # transforms a process keeps: a camera's photos all carry the same profile

Transform = Callable[[Image.Image], Image.Image]


@lru_cache(maxsize=KEPT)
def to_srgb(profile: bytes, mode: str) -> Transform | None:
    """The transform from `mode` (a key of SPACES) to sRGB in mode RGB; None where there is nothing to convert."""
    if profile[16:20] != SPACES[mode] or _endless(profile):
        return None
    from PIL import ImageCms  # loaded by the first photo that needs it

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, flags)
        return None if _changes_nothing(transform.apply, mode) else transform.apply
    except Exception:  # whatever Little CMS raises, it is the profile that is broken
        return None


def _endless(profile: bytes) -> bool:
    """Multi-process elements: a few kilobytes of them can take minutes, and photos carry none."""
    count = min(MOST_TAGS, int.from_bytes(profile[128:132], "big"))
    places = (int.from_bytes(profile[at : at + 4], "big") for at in range(136, 136 + 12 * count, 12))
    return any(profile[place : place + 4] == b"mpet" for place in places)


def _changes_nothing(apply: Transform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    levels = [0, 32, 64, 128, 192, 255]
    colors = bytes(itertools.chain.from_iterable(itertools.product(levels, repeat=len(mode))))
    sample = Image.frombytes(mode, (len(colors) // len(mode), 1), colors)
    before, after = sample.convert("RGB").tobytes(), apply(sample).tobytes()
    return all(abs(a - b) <= NEAR for a, b in zip(before, after, strict=True))
