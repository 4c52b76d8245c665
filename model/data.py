"""Photos with their masks from disk. Needs no TensorFlow."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.card import sha256
from model.images import scale_to_input
from model.labels import PETS, Label, load_labels

LABELS = "labels.json"
MANIFEST = "data.json"


@dataclass(frozen=True)
class Example:
    """A photo and its mask, both of the same size. `first`: the mask's value for class 0."""

    name: str
    photo: Path
    mask: Path
    first: int

    def open(self) -> tuple[Image.Image, Image.Image]:
        """The photo in RGB and its class ids in mode L, 255 for unlabelled pixels.

        Raises ValueError if the mask is not an 8-bit image of ids.
        """
        with Image.open(self.photo) as photo, Image.open(self.mask) as mask:
            if mask.mode not in ("L", "P"):
                raise ValueError(f"{self.mask} is not an 8-bit image of class ids")
            classes = np.asarray(mask, np.uint8) - np.uint8(self.first)  # below the first: wraps to 255
            return photo.convert("RGB"), Image.fromarray(classes)


def labels_of(root: Path) -> tuple[Label, ...]:
    """The classes of the masks under `root`: those of its labels.json, else those of the Oxford-IIIT Pet trimaps."""
    return load_labels(root / LABELS) if (root / LABELS).is_file() else PETS


def examples(root: Path, split: str) -> list[Example]:
    """The pairs of `split` ("train" or "test") under `root`, in the list's order.

    Reads three layouts, each with images/{name}.jpg and a list of names ({split}*.txt, so train.txt
    or trainval.txt):
    - labels.json, splits/, masks/ (ids from 0)
    - the official Oxford-IIIT archive: annotations/, annotations/trimaps/ (ids from 1)
    - the same without that folder: splits/, trimaps/

    Raises FileNotFoundError if there is no list.
    """
    if (root / LABELS).is_file():
        lists, masks, first = root / "splits", root / "masks", 0
    elif (root / "annotations").is_dir():
        lists, masks, first = root / "annotations", root / "annotations" / "trimaps", 1
    else:
        lists, masks, first = root / "splits", root / "trimaps", 1
    listing = min(lists.glob(f"{split}*.txt"), default=lists / f"{split}.txt")
    names = [line.split()[0] for line in listing.read_text().splitlines() if line[:1] not in ("", "#")]
    return [Example(name, root / "images" / f"{name}.jpg", masks / f"{name}.png", first) for name in names]


def full_size_examples(root: Path) -> list[Example]:
    """The photos kept at their original size beside the pack (fullsize_test_photos/), by name."""
    folder = root / "fullsize_test_photos"
    photos = sorted(folder.glob("*.jpg"))
    return [Example(photo.stem, photo, folder / f"{photo.stem}_trimap.png", 1) for photo in photos]


def squeezed(pairs: list[Example], size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each pair at size x size: photo uint8[size,size,3] as served, class ids uint8[size,size] by nearest."""
    for pair in pairs:
        photo, classes = pair.open()
        yield (
            scale_to_input(photo, size),
            np.asarray(classes.resize((size, size), Image.Resampling.NEAREST)),
        )


def manifest(root: Path) -> str:
    """The training photos under `root` as JSON: the source, and one line per photo with its name and sha256."""
    source = root.resolve().name if (root / LABELS).is_file() else "Oxford-IIIT Pet, official trainval split"
    photos = [json.dumps({"name": pair.name, "sha256": sha256(pair.photo)}) for pair in examples(root, "train")]
    return f'{{"source": {json.dumps(source)}, "photos": [\n' + ",\n".join(photos) + "\n]}\n"
