"""Files of a model version: read, checked against the card's digests, written atomically."""

import hashlib
import time
from pathlib import Path


class ModelError(Exception):
    """A version cannot be published or used. The message gives the reason in one line."""


def read_checked(folder: Path, name: str, version: str, digest: str) -> bytes:
    """The content of a file. Raises ModelError if it is missing or its SHA-256 is not `digest`."""
    if Path(name).name != name or not (folder / name).is_file():
        raise ModelError(f"model {version}: {name} is missing")
    return checked((folder / name).read_bytes(), name, version, digest)


def checked(content: bytes, name: str, version: str, digest: str) -> bytes:
    """`content`, unless its SHA-256 is not `digest`: then raises ModelError."""
    if sha256(content) != digest:
        raise ModelError(f"model {version}: {name} is damaged: its sha256 differs from the card's")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write atomically: several workers share the folder, and none may read half a file."""
    partial = path.with_name(f".{path.name}.{time.monotonic_ns()}")
    partial.write_bytes(content)
    partial.replace(path)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
