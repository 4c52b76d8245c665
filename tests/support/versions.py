"""Model versions for the tests: copies of the shipped one under other names, some damaged."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from services import SHIPPED_MODEL

from model.card import Card, sha256
from model.engines import ENGINES, EngineName
from storage.connection import Storage


def version_folder(root: Path, version: str, engines: Iterable[EngineName] = tuple(ENGINES), **changes: Any) -> Path:
    """Create `root`/pets/`version`: the shipped files, and the card with changes.

    `engines`: those that the card has a file for.
    """
    folder = root / "pets" / version
    shutil.copytree(SHIPPED_MODEL, folder)
    card = Card.load(folder)
    left_out = {kind.file for name, kind in ENGINES.items() if name not in engines}
    files = {name: digest for name, digest in card.files.items() if name not in left_out}
    replace(card, version=version, files=files, **changes).save(folder)
    return folder


def publish(storage: Storage, root: Path, *versions: str) -> None:
    """Publish these versions of pets."""
    for version in versions:
        storage.models.publish(version_folder(root, version))


def sign(folder: Path) -> None:
    """Write the current digests of the files into the card."""
    card = Card.load(folder)
    replace(card, files={name: sha256(folder / name) for name in card.files}).save(folder)
