"""The files of a model version: held to the digests of the card, and written whole."""

import hashlib
import time
from pathlib import Path


class ModelError(Exception):
    """A version cannot be published or used; the text says why, in one line."""


def verified(folder: Path, name: str, version: str, digest: str) -> bytes:
    if Path(name).name != name or not (folder / name).is_file():
        raise ModelError(f"model {version}: {name} is missing")
    return right((folder / name).read_bytes(), name, version, digest)


def right(content: bytes, name: str, version: str, digest: str) -> bytes:
    if sha256(content) != digest:
        raise ModelError(f"model {version}: {name} is damaged, its sha256 is not the card's")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Several workers share the folder: each file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{time.monotonic_ns()}")
    partial.write_bytes(content)
    partial.replace(path)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
