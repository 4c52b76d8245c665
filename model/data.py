"""Photos with their masks from disk. Needs no TensorFlow."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.card import sha256
from model.images import scale_to_input
from model.labels import PETS, Label, load_labels

LABELS = "labels.json"
MANIFEST = "data.json"
# Photos whose 16 x 16 grey thumbnails correlate more than this show the same picture.
THUMBNAIL, SAME_PICTURE = 16, 0.97
COMPARED = 1024  # thumbnails at a time: with 50,000 others, their products take 400 MB
GATE_PART = 8


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
    """The pairs of `split` ("train", "validation", "gate", "held_out" or "test") under `root`, in the list's order.

    The gate's photos choose among recipes and versions, so they are neither trained nor tested on. A folder without a
    gate.txt keeps about an eighth of its training list for the gate. The validation photos choose among epochs;
    without a validation.txt, the gate photos do.

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
    names = _names(lists, split)
    return [Example(name, root / "images" / f"{name}.jpg", masks / f"{name}.png", first) for name in names]


def _names(lists: Path, split: str) -> list[str]:
    if split == "validation" and not (lists / "validation.txt").exists():
        return _names(lists, "gate")
    listing = min(lists.glob(f"{split}*.txt"), default=lists / f"{split}.txt")
    if split not in ("train", "gate") or (lists / "gate.txt").exists():
        return _listed(listing)
    # The hash of its name decides, so a photo stays where it is when the list grows.
    training = _listed(min(lists.glob("train*.txt"), default=lists / "train.txt"))
    return [name for name in training if (crc32(name.encode()) % GATE_PART == 0) == (split == "gate")]


def _listed(listing: Path) -> list[str]:
    return [line.split()[0] for line in listing.read_text().splitlines() if line.strip() and line[0] != "#"]


def duplicates(some: Sequence[Example], others: Sequence[Example]) -> list[tuple[str, str]]:
    """The names of pairs that show the same picture, mirrored or not, whatever their size and compression."""
    ours, theirs = ([_thumbnail_of(pair.photo) for pair in pairs] for pairs in (some, others))
    return [(some[i].name, others[j].name) for i, j in same_pictures(ours, theirs)]


def same_pictures(some: Sequence[bytes], others: Sequence[bytes]) -> list[tuple[int, int]]:
    """The indexes of the pairs of thumbnails that show the same picture, mirrored or not."""
    if not some or not others:
        return []
    ours, theirs = _normalised(some), _normalised(others)
    mirrored, found = _mirrored(theirs), []
    for start in range(0, len(ours), COMPARED):
        some_of_ours = ours[start : start + COMPARED]
        alike = np.maximum(some_of_ours @ theirs.T, some_of_ours @ mirrored.T) > SAME_PICTURE
        found += [(start + int(i), int(j)) for i, j in np.argwhere(alike)]
    return found


class Pictures:
    """A growing list of thumbnails, normalised once, that others are compared with one by one."""

    def __init__(self, thumbnails: Sequence[bytes] = ()) -> None:
        self._count = len(thumbnails)
        self._rows = _normalised(thumbnails) if thumbnails else np.zeros((1, THUMBNAIL**2), np.float32)

    def add(self, thumbnail: bytes) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = _normalised([thumbnail])[0]
        self._count += 1

    def alike(self, thumbnail: bytes) -> list[int]:
        """The indexes of those that show the same picture, mirrored or not."""
        row = _normalised([thumbnail])
        products = self._rows[: self._count] @ np.concatenate([row, _mirrored(row)]).T
        return [int(index) for index in np.flatnonzero(products.max(axis=1) > SAME_PICTURE)]


def thumbnail(photo: Image.Image) -> bytes:
    """THUMBNAIL x THUMBNAIL grey values, row by row."""
    return photo.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes()


def _thumbnail_of(path: Path) -> bytes:
    with Image.open(path) as photo:
        photo.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
        return thumbnail(photo)


def _normalised(thumbnails: Sequence[bytes]) -> NDArray[np.float32]:
    """One row each, with mean 0 and length 1: the product of two is their correlation."""
    rows = np.stack([np.frombuffer(one, np.uint8) for one in thumbnails]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(1e-6, np.linalg.norm(rows, axis=1, keepdims=True)))


def _mirrored(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(rows.shape)


def training_examples(root: Path) -> tuple[list[Example], list[tuple[str, str]]]:
    """The training photos, without those that the gate or the test shows too, and the pairs (left out, its twin)."""
    train = examples(root, "train")
    judges = [pair for split in ("validation", "gate", "test") for pair in examples_if_listed(root, split)]
    twins = dict(duplicates(train, judges))
    return [pair for pair in train if pair.name not in twins], sorted(twins.items())


def examples_if_listed(root: Path, split: str) -> list[Example]:
    """As `examples`, but returns [] without a list."""
    try:
        return examples(root, split)
    except FileNotFoundError:
        return []


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


def manifest(root: Path, pairs: Sequence[Example]) -> str:
    """The photos of `pairs` under `root` as JSON: the source, and one line per photo with its name and sha256."""
    source = (
        root.resolve().name
        if (root / LABELS).is_file()
        else "Oxford-IIIT Pet, official trainval split without the gate"
    )
    photos = [json.dumps({"name": pair.name, "sha256": sha256(pair.photo)}) for pair in pairs]
    return f'{{"source": {json.dumps(source)}, "photos": [\n' + ",\n".join(photos) + "\n]}\n"
