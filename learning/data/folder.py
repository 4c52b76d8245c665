"""Downloads a data set version, in the layout that `model.data.examples` reads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.card import sha256
from model.data import LABELS
from model.labels import Label, save_labels
from storage.connection import Storage
from storage.model_files import write_whole
from storage.training.datasets import Item, Manifest, Split

DOWNLOADERS, CHUNK = 8, 64


def bring(
    storage: Storage, manifest: Manifest, folder: Path, splits: Iterable[Split], beat: Callable[[], None]
) -> Path:
    """Download the photos of `splits` into `folder` and return it; the lists of the other splits are empty.

    Intact files that are there already are kept. `beat` is called after every CHUNK photos.
    Raises DatasetError if a photo was erased.
    """
    wanted = manifest.of(*splits)
    for name in ("images", "masks", "splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(DOWNLOADERS) as pool:
        for some in _chunks(wanted):
            list(pool.map(lambda item: _bring_one(storage, item, folder), some))
            beat()
    for split in Split:
        _list(folder, split, [item for item in wanted if item.split is split])
    _list(folder, "corrections", [item for item in wanted if item.job_id])
    save_labels(folder / LABELS, tuple(Label.from_dict(entry) for entry in manifest.labels))
    return folder


def _chunks(items: list[Item]) -> Iterable[list[Item]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _bring_one(storage: Storage, item: Item, folder: Path) -> None:
    photo, mask = folder / "images" / f"{item.name}.jpg", folder / "masks" / f"{item.name}.png"
    for path, key, digest in ((photo, item.photo, item.photo_sha256), (mask, item.mask, item.mask_sha256)):
        if not path.is_file() or sha256(path) != digest:
            write_whole(path, storage.datasets.get(key, digest))


def _list(folder: Path, name: str, items: list[Item]) -> None:
    (folder / "splits" / f"{name}.txt").write_text("".join(f"{item.name}\n" for item in items))
