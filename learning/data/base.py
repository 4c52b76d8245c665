"""Uploads a folder of photos and masks as the first version of a data set."""

import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from learning.data.prepare import prepare
from model.data import Example, examples, examples_if_listed, labels_of, same_pictures
from storage import clock, object_keys
from storage.connection import Storage
from storage.objects import DATASETS
from storage.training.datasets import DatasetError, Item, Manifest, Split, check_name

UPLOADERS = 4
VALIDATION_SHARE = 0.06  # of the training photos
_NAME = re.compile(r"[\w-][\w.-]{0,99}")  # part of a path on every trainer


def import_base(storage: Storage, name: str, folder: Path, tell: Callable[[int, int], None]) -> Manifest:
    """Make version 1 of the data set `name` from the photos under `folder`, in a layout of `model.data.examples`.

    Training photos that show the same picture as a gate or test photo are left out. Safe to repeat after an
    interruption. `tell`: called with the number of photos stored so far and of all photos.
    Raises DatasetError if the data set exists with other photos, FileNotFoundError or ValueError for a wrong folder.
    """
    check_name(name)
    pairs = list(_split_pairs(folder))
    names = [pair.name for _, pair in pairs]
    if len(set(names)) < len(names):
        raise DatasetError("two photos of the folder have the same name")
    if strange := [one for one in names if not _NAME.fullmatch(one)]:
        raise DatasetError(f"{strange[0]!r} is not a photo's name: use letters, digits, '.', '_' and '-'")
    stored = {listed.key for listed in storage.objects.listing(DATASETS, f"{name}/base/")}
    items: list[Item] = []
    with ThreadPoolExecutor(UPLOADERS) as pool:
        for item in pool.map(lambda one: _store(storage, name, stored, *one), pairs):
            items.append(item)
            tell(len(items), len(pairs))
    labels = tuple(label.to_dict() for label in labels_of(folder))
    manifest = Manifest(name, 1, 0, labels, tuple(_without_twins(items)), (), _created_ms(storage, name))
    storage.datasets.publish(manifest)
    return manifest


def _split_pairs(folder: Path) -> Iterator[tuple[Split, Example]]:
    training = examples(folder, "train")
    by_content = sorted(training, key=lambda pair: zlib.crc32(pair.photo.read_bytes()))
    validation = {pair.name for pair in by_content[: max(1, round(VALIDATION_SHARE * len(training)))]}
    for pair in training:
        yield Split.VALIDATION if pair.name in validation else Split.TRAIN, pair
    for pair in examples(folder, "gate"):
        yield Split.GATE, pair
    for pair in examples_if_listed(folder, "test"):
        yield Split.TEST, pair


def _store(storage: Storage, name: str, stored: set[str], split: Split, pair: Example) -> Item:
    try:
        made = prepare(*pair.open())
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{pair.name}: {error}") from error
    photo = object_keys.base_photo(name, made.photo_sha256[:32], "jpg")
    mask = object_keys.base_photo(name, made.mask_sha256[:32], "png")
    for key, content in ((photo, made.photo), (mask, made.mask)):
        if key not in stored:
            storage.datasets.put(key, content)
    return Item(pair.name, split, photo, mask, made.photo_sha256, made.mask_sha256, made.thumbnail.hex())


def _without_twins(items: list[Item]) -> Iterator[Item]:
    """All items, without the train and validation photos that show the same picture as a gate or test photo."""
    judges = [bytes.fromhex(item.thumbnail) for item in items if item.split in (Split.GATE, Split.TEST)]
    learned = [item for item in items if item.split in (Split.TRAIN, Split.VALIDATION)]
    twins = {index for index, _ in same_pictures([bytes.fromhex(item.thumbnail) for item in learned], judges)}
    left_out = {learned[index].name for index in twins}
    return (item for item in items if item.name not in left_out)


def _created_ms(storage: Storage, name: str) -> int:
    """The time of an existing version 1, so that a repeated import makes the same manifest; otherwise now."""
    return storage.datasets.manifest(f"{name}/1").created_ms if storage.datasets.versions(name) else clock.now_ms()
