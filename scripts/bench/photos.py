"""The JPEGs that the benchmarks send."""

import os
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import pictures
from PIL import Image
from services import ROOT

from model.data import full_size_examples

SIZES = {"640": (640, 480), "1920": (1920, 1080), "4000": (4000, 3000)}
MOST = 36


@cache
def photos(width: int, height: int) -> tuple[bytes, ...]:
    """JPEGs of this size: full-size photos of the data pack if it is installed, otherwise synthetic ones.

    There are fewer large ones, because they take long to make.
    """
    root = Path(os.environ.get("SEGUE_DATA") or ROOT / "../shared/data/pets160")
    count = MOST if width * height < 1_000_000 else MOST // 3
    if not root.is_dir():
        return tuple(pictures.jpeg(width, height, seed) for seed in range(count))
    images = (pair.open()[0] for pair in full_size_examples(root)[:count])
    resized = (image.resize((width, height), Image.Resampling.LANCZOS) for image in images)
    return tuple(pictures.encoded(image, quality=90) for image in resized)
