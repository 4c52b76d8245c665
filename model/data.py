"""Photos with trimaps from disk. Needs no TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images import scale_to_input


@dataclass(frozen=True)
class Example:
    """A photo and its trimap (8-bit; 1 pet, 2 background, 3 border), both of the same size."""

    name: str
    photo: Path
    trimap: Path

    def open(self) -> tuple[Image.Image, Image.Image]:
        """The photo in RGB and its class ids (trimap - 1) in mode L."""
        with Image.open(self.photo) as photo, Image.open(self.trimap) as trimap:
            classes = np.asarray(trimap.convert("L")) - 1
            return photo.convert("RGB"), Image.fromarray(classes.astype(np.uint8))


def examples(root: Path, split: str) -> list[Example]:
    """The pairs of `split` ("trainval" or "test") under `root`, in the list's order.

    Reads the official Oxford-IIIT archive (annotations/trainval.txt, annotations/trimaps/) and the flat layout
    (splits/trainval.txt, trimaps/). Raises FileNotFoundError when neither list is there.
    """
    official = root / "annotations"
    listing, trimaps = (
        (official / f"{split}.txt", official / "trimaps")
        if official.is_dir()
        else (root / "splits" / f"{split}.txt", root / "trimaps")
    )
    names = [line.split()[0] for line in listing.read_text().splitlines() if line[:1] not in ("", "#")]
    return [Example(name, root / "images" / f"{name}.jpg", trimaps / f"{name}.png") for name in names]


def full_size_examples(root: Path) -> list[Example]:
    """The photos kept at their original size beside the pack (fullsize_test_photos/), by name."""
    folder = root / "fullsize_test_photos"
    return [Example(photo.stem, photo, folder / f"{photo.stem}_trimap.png") for photo in sorted(folder.glob("*.jpg"))]


def squeezed(pairs: list[Example], size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each pair at size x size: photo uint8[size,size,3] as served, class ids uint8[size,size] by nearest."""
    for pair in pairs:
        photo, classes = pair.open()
        yield (
            scale_to_input(photo, size),
            np.asarray(classes.resize((size, size), Image.Resampling.NEAREST)),
        )
