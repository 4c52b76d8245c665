"""Convert a photo to sRGB by its ICC profile, as browsers do: wide-gamut, grey or CMYK.

A profile that is broken, hostile, for other pixels than the photo's, or sRGB itself is ignored.
"""

import io
import itertools
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}  # Pillow's modes and the profile's signatures (ICC.1, 7.2.6)
NEAR = 2  # levels of 255; a profile that moves no colour further counts as sRGB
MOST_TAGS = 100  # Little CMS' limit
KEPT = 8  # cached transforms per process; all photos of a camera carry the same profile

Transform = Callable[[Image.Image], Image.Image]


@lru_cache(maxsize=KEPT)
def to_srgb(profile: bytes, mode: str) -> Transform | None:
    """The transform from `mode` (a key of SPACES) to sRGB in mode RGB; None if the profile is
    ignored.
    """
    if profile[16:20] != SPACES[mode] or _endless(profile):
        return None
    from PIL import ImageCms  # loaded by the first photo that needs it

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, flags)
        return None if _changes_nothing(transform.apply, mode) else transform.apply
    except Exception:  # any error here means a broken profile
        return None


def _endless(profile: bytes) -> bool:
    """Whether the profile has multi-process elements.

    A few kilobytes can take minutes, and photos have none.
    """
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
