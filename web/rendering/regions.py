"""The inner and the outer mask of a class, between which its true outline lies (model/guarantee.py)."""

from collections.abc import Sequence

from PIL import Image, ImageChops

from storage.problems import Problem
from storage.result import ClassShare
from web.rendering.renderings import encoded, looked_up, sureness

MOST = 255


def inner(mask: bytes, classes: Sequence[ClassShare], shown: Sequence[int], size: tuple[int, int]) -> bytes:
    """Return a grey PNG: 255 where the mask is of the class and surely so, 0 elsewhere."""
    entry = _with_regions(classes, shown)
    sure = _reaches(mask, size, entry["regions"]["inner"])
    return encoded(ImageChops.darker(looked_up(mask, {entry["id"]: MOST}), sure), "PNG", compress_level=1)


def outer(mask: bytes, classes: Sequence[ClassShare], shown: Sequence[int], size: tuple[int, int]) -> bytes:
    """Return a grey PNG: 0 where the mask is surely of another class, 255 elsewhere."""
    entry = _with_regions(classes, shown)
    doubtful = ImageChops.invert(_reaches(mask, size, entry["regions"]["outer"]))
    return encoded(ImageChops.lighter(looked_up(mask, {entry["id"]: MOST}), doubtful), "PNG", compress_level=1)


def _with_regions(classes: Sequence[ClassShare], shown: Sequence[int]) -> ClassShare:
    """The one class that is chosen, or the first one that has thresholds. Raises Problem `no_guarantee`."""
    chosen = [entry for entry in classes if entry["id"] in shown and "regions" in entry]
    if not chosen:
        raise Problem("no_guarantee", "No class that was asked for has thresholds in the version that made this mask.")
    return chosen[0]


def _reaches(mask: bytes, size: tuple[int, int], threshold: float) -> Image.Image:
    """255 where the confidence reaches the threshold, else 0. Raises Problem `no_confidence`."""
    return sureness(mask, size).point([MOST if level >= threshold * MOST else 0 for level in range(256)])
