"""The folder of a backup.

manifest.json              written last: without it, the backup is incomplete. Digests of the files below
objects.jsonl              one line per object: where it belongs, its metadata, and the digest of its content
objects.jsonl.journal      the same lines for what has been copied since the last complete backup
contents/{2 digits}/{sha256}   the content of the objects, under its SHA-256
tables/{name}.jsonl.gz     one line per row of the SQL table
"""

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

FORMAT = 1
CHUNK = 1 << 20


class BackupError(Exception):
    """The folder cannot be used; the text says why."""


@dataclass(frozen=True)
class StoredObject:
    """One object. `etag`, `size`, `modified_ms`: as the object store reported them."""

    bucket: str
    key: str
    etag: str
    size: int
    modified_ms: int
    sha256: str
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Part:
    """A file that the manifest names. `count`: its lines."""

    sha256: str
    count: int


@dataclass(frozen=True)
class Manifest:
    """`revision`: the migration of the SQL database; `tables`: name → its file."""

    format: int
    id: str
    began_ms: int
    ended_ms: int
    revision: str | None
    objects: Part
    tables: dict[str, Part]


_ENTRY, _MANIFEST = TypeAdapter(StoredObject), TypeAdapter(Manifest)


class Folder:
    """Raises BackupError for a folder that holds no complete backup of a known format."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "objects.jsonl.journal"
        self._manifest, self._objects = root / "manifest.json", root / "objects.jsonl"

    def make(self) -> None:
        """Create the folder, readable by its owner only: it holds photos, and digests of API keys."""
        for folder in (self.root, self.root / "contents", self.root / "tables"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """The journal, for the only process that may write to the folder."""
        with self.journal.open("ab") as journal:
            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BackupError(f"another process is writing to {self.root}") from error
            yield journal

    def content_path(self, sha256: str) -> Path:
        return self.root / "contents" / sha256[:2] / sha256

    def table_path(self, name: str) -> Path:
        return self.root / "tables" / f"{name}.jsonl.gz"

    def put(self, content: bytes) -> str:
        """Store a content under its digest, and return that."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.content_path(sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # Two threads may write the same content.
        with replaced(path, f"{os.getpid()}-{id(content)}") as file:
            file.write(content)
        return sha256

    def has(self, entry: StoredObject) -> bool:
        try:
            return self.content_path(entry.sha256).stat().st_size == entry.size
        except FileNotFoundError:
            return False

    def content(self, entry: StoredObject) -> bytes:
        """Raises BackupError if it is missing or damaged."""
        try:
            content = self.content_path(entry.sha256).read_bytes()
        except FileNotFoundError:
            raise BackupError(f"missing: {entry.bucket}/{entry.key}") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise BackupError(f"damaged: {entry.bucket}/{entry.key}, in {self.content_path(entry.sha256)}")
        return content

    def known(self) -> Iterator[StoredObject]:
        """The objects of the last complete backup and of an interrupted one."""
        for path in (self._objects, self.journal):
            with suppress(FileNotFoundError), path.open("rb") as lines:
                for line in lines:
                    with suppress(ValidationError):  # the last line before an interruption may be cut off
                        yield _ENTRY.validate_json(line)

    def entries(self) -> Iterator[StoredObject]:
        with self._objects.open("rb") as lines:
            for line in lines:
                yield _ENTRY.validate_json(line)

    def complete(self, manifest: Manifest) -> None:
        """Make the new objects.jsonl and tables valid, and remove contents that no object has any more.

        If this is interrupted, the backup is incomplete, and the next one continues it.
        """
        self._manifest.unlink(missing_ok=True)
        for new in (self.new(self._objects), *(self.new(self.table_path(name)) for name in manifest.tables)):
            new.replace(new.with_suffix(""))
        with replaced(self._manifest, "new") as file:
            file.write(_MANIFEST.dump_json(manifest, indent=1))
        self.journal.unlink()
        kept = {entry.sha256 for entry in self.entries()}
        for path in (self.root / "contents").glob("*/*"):
            if path.name not in kept:
                path.unlink()

    def write_objects(self, entries: Iterable[StoredObject]) -> Part:
        return write_lines(self.new(self._objects), (line(entry) for entry in entries))

    @staticmethod
    def new(path: Path) -> Path:
        """Where a file is prepared until `complete`."""
        return path.with_name(f"{path.name}.new")

    def manifest(self) -> Manifest:
        try:
            content = self._manifest.read_bytes()
        except OSError as error:
            raise BackupError(f"{self.root} holds no complete backup: {error.strerror} for manifest.json") from error
        found = json.loads(content).get("format")
        if found != FORMAT:
            raise BackupError(f"{self.root} has the format {found}, and this version reads {FORMAT}")
        return _MANIFEST.validate_json(content)

    def faults(self) -> Iterator[str]:
        """Read everything; yield what is missing or damaged."""
        manifest = self.manifest()
        parts = {self._objects: manifest.objects, **{self.table_path(n): p for n, p in manifest.tables.items()}}
        wrong = [path for path, part in parts.items() if not path.is_file() or digest(path) != part.sha256]
        yield from (f"damaged or missing: {path}" for path in wrong)
        if self._objects in wrong:
            return
        for entry in self.entries():
            try:
                self.content(entry)
            except BackupError as error:
                yield str(error)


def line(entry: StoredObject) -> bytes:
    return _ENTRY.dump_json(entry) + b"\n"


def write_lines(path: Path, lines: Iterable[bytes], compressed: bool = False) -> Part:
    """Write a file that is on the disk when this returns."""
    count = 0
    with path.open("wb") as file:
        with gzip.open(file, "wb") if compressed else nullcontext(file) as out:
            for count, one in enumerate(lines, 1):  # noqa: B007
                out.write(one)
        flush(file)
    return Part(digest(path), count)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replaced(path: Path, mark: str) -> Iterator[IO[bytes]]:
    """A file that gets its name only when it is complete and on the disk."""
    part = path.with_name(f"{path.name}.{mark}.part")
    try:
        with part.open("wb") as file:
            yield file
            flush(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
