"""Finds the photos in a folder, and says why other files are not sent. Opens regular files only."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from segue_client.folder import kinds

LARGEST_BYTES = 10 * 1024**2
LONGEST_ID_BYTES = 255


class Refused(Exception):
    """The file cannot be sent; the message says why."""


@dataclass(frozen=True)
class Photo:
    """`relative`: the path in the folder, with forward slashes; `real`: the path with all links resolved."""

    relative: str
    real: Path
    size: int
    mtime_ns: int

    @property
    def custom_id(self) -> str:
        """The relative path, or its SHA-256 if a form's file name cannot carry the path unchanged."""
        try:
            encoded = self.relative.encode()
        except UnicodeEncodeError:
            encoded = b""
        # A form writes a quote or a line end as %22, %0A or %0D, but does not escape a percent sign.
        plain = self.relative.isprintable() and not set('"\\%') & set(self.relative)
        if plain and self.relative == self.relative.strip() and 0 < len(encoded) <= LONGEST_ID_BYTES:
            return self.relative
        return f"path-{hashlib.sha256(os.fsencode(self.relative)).hexdigest()}"


@dataclass
class Found:
    """The photos, and (relative path, reason) of the files that are not sent.

    `skipped`: by its suffix, the file should be a photo; `ignored`: it should not.
    """

    photos: list[Photo] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def walk(source: Path, out: Path) -> Found:
    """Find everything under `source`, except `out`, in the order of names.

    Links to folders are not followed. One that points outside `source` is reported; the target of any
    other is found under its own path.
    """
    source, found = source.resolve(), Found()
    for path in _entries(source, out.resolve(), found):
        relative = path.relative_to(source).as_posix()
        try:
            if os.path.isdir(path):  # Path.is_dir() may raise
                _resolve_inside(path, source)
            else:
                found.photos.append(_photo(path, relative, source))
        except Refused as reason:
            looks_like_photo = path.suffix.lower() in kinds.SUFFIXES or os.path.isdir(path)
            (found.skipped if looks_like_photo else found.ignored).append((relative, str(reason)))
    return found


def _entries(source: Path, out: Path, found: Found) -> Iterator[Path]:
    """Yield files and links to folders."""

    def unreadable(error: OSError) -> None:
        found.skipped.append((Path(error.filename).relative_to(source).as_posix(), error.strerror or "unreadable"))

    for parent, folders, files in os.walk(source, onerror=unreadable):
        here = Path(parent)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if here / name != out and not kinds.is_clutter_folder(name))
        yield from (here / name for name in sorted([*files, *links]) if not kinds.is_clutter(name))


def _resolve_inside(path: Path, source: Path) -> Path:
    """Resolve all links. Raises Refused if the result is not inside `source`."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise Refused("a link that cannot be resolved") from error
    if not real.is_relative_to(source):
        raise Refused("a link that points outside the folder")
    return real


def _photo(path: Path, relative: str, source: Path) -> Photo:
    real = _resolve_inside(path, source)
    try:
        status = real.lstat()
    except OSError as error:
        raise Refused(error.strerror or "unreadable") from error
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not a regular file")
    if not status.st_size:
        raise Refused("empty")
    if not kinds.is_image(_read(real, kinds.HEAD_BYTES), status.st_size):
        raise Refused("not an image")
    if status.st_size > LARGEST_BYTES:
        raise Refused("larger than 10 MiB")
    return Photo(relative, real, status.st_size, status.st_mtime_ns)


def read(path: Path) -> bytes:
    """Read a photo. Raises Refused if it cannot be read or sent."""
    return check_content(_read(path, LARGEST_BYTES + 1))


def check_content(content: bytes) -> bytes:
    """Return the content unchanged. Raises Refused if it is empty, too large or not an image."""
    if not content:
        raise Refused("empty")
    if len(content) > LARGEST_BYTES:
        raise Refused("larger than 10 MiB")
    if not kinds.is_image(content[: kinds.HEAD_BYTES], len(content)):
        raise Refused("not an image")
    return content


def _read(path: Path, most: int) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read(most)
    except OSError as error:
        raise Refused(error.strerror or "unreadable") from error
    except ValueError as error:  # a null character in the name
        raise Refused("no such file") from error


def _without_waiting(path: str, flags: int) -> int:
    """An opener that does not block if the file has been replaced by a FIFO since it was examined."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
