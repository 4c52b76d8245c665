"""Corrected masks as images: index PNGs, and CVAT's export `Segmentation mask 1.1` (VOC)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from learning.review.entries import CorrectedMask, Place, Region, Unusable, check_size, files, opened, painted
from storage.photos.class_ids import corrected
from storage.photos.photo import decode_mask
from storage.settings import Settings
from storage.training.reviews import Subject

FOLDER, LABEL_MAP = "SegmentationClass", "labelmap.txt"

Colour = tuple[int, ...]


def png(path: Path, settings: Settings) -> Iterator[CorrectedMask]:
    """PNGs named by job id: grey class ids, or palette and RGB images in the classes' colours. Raises Unusable."""
    for file in files(opened(path), ".png"):

        def draw(subject: Subject, file: Place = file) -> bytes:
            return corrected(file.read_bytes(), subject.size, subject.labels, settings)

        yield CorrectedMask(file.name, draw)


def voc(path: Path, settings: Settings) -> Iterator[CorrectedMask]:
    """SegmentationClass/*.png in the colours of labelmap.txt; a folder or a zip archive. Raises Unusable."""
    root = opened(path)
    if not (root / LABEL_MAP).is_file() or not (root / FOLDER).is_dir():
        raise Unusable(f"{path} has no {LABEL_MAP}, or no folder {FOLDER}")
    names = dict(_label_map((root / LABEL_MAP).read_text(encoding="utf-8")))
    for file in files(root / FOLDER, ".png"):

        def draw(subject: Subject, file: Place = file) -> bytes:
            mask = decode_mask(file.read_bytes(), settings).convert("RGB")
            check_size(subject, *mask.size)
            return painted(subject, list(_regions(mask, names)))

        yield CorrectedMask(file.name, draw)


def _label_map(text: str) -> Iterator[tuple[Colour, str]]:
    """Lines `name:red,green,blue:parts:actions`. Raises Unusable."""
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        name, _, rest = line.partition(":")
        try:
            red, green, blue = map(int, rest.partition(":")[0].split(","))
        except ValueError:
            raise Unusable(f"{LABEL_MAP}: not a label: {line}") from None
        yield (red, green, blue), name


def _regions(mask: Image.Image, names: dict[Colour, str]) -> Iterator[Region]:
    pixels = np.asarray(mask)
    colours, place = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    for number, colour in enumerate(map(tuple, colours.tolist())):
        if colour not in names:
            raise Unusable(f"{LABEL_MAP} has no colour {','.join(map(str, colour))}")
        yield names[colour], partial(np.equal, place.reshape(pixels.shape[:2]), number)
