"""Model versions for the tests: copies of the shipped one under other names, some damaged."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from services import SHIPPED_MODEL

from model.card import Card, sha256
from storage.connection import Storage


def version_folder(root: Path, version: str, **changes: Any) -> Path:
    """Create `root`/pets/`version`: the shipped files, and the card with changes."""
    folder = root / "pets" / version
    shutil.copytree(SHIPPED_MODEL, folder)
    replace(Card.load(folder), version=version, **changes).save(folder)
    return folder


def publish(storage: Storage, root: Path, *versions: str) -> None:
    """Publish these versions of pets."""
    for version in versions:
        storage.models.publish(version_folder(root, version))


def sign(folder: Path) -> None:
    """Write the current digests of the files into the card."""
    card = Card.load(folder)
    replace(card, files={name: sha256(folder / name) for name in card.files}).save(folder)
