"""Which files of a folder are photos to send, and which are not and why. Nothing is opened but regular files."""

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
    """The file is not sent; the text says why."""


@dataclass(frozen=True)
class Photo:
    """`relative` to the folder with forward slashes; `real` is behind all links, inside the folder."""

    relative: str
    real: Path
    size: int
    mtime_ns: int

    @property
    def custom_id(self) -> str:
        """The path; its digest where the name field of a form could not carry the path as it is."""
        try:
            encoded = self.relative.encode()
        except UnicodeEncodeError:
            encoded = b""
        # A form writes a quote or a line end as %22, %0A or %0D and leaves a percent sign alone.
        plain = self.relative.isprintable() and not set('"\\%') & set(self.relative)
        if plain and self.relative == self.relative.strip() and 0 < len(encoded) <= LONGEST_ID_BYTES:
            return self.relative
        return f"path-{hashlib.sha256(os.fsencode(self.relative)).hexdigest()}"


@dataclass
class Found:
    """(relative path, why not) of what is not sent: `skipped` should have been a photo, `ignored` never was one."""

    photos: list[Photo] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def walk(source: Path, out: Path) -> Found:
    """Everything under `source` but `out`, in the order of names. Folder links are not followed: one that leads
    outside is listed, and what lies inside is met under its own path."""
    source, found = source.resolve(), Found()
    for path in _entries(source, out.resolve(), found):
        relative = path.relative_to(source).as_posix()
        try:
            if os.path.isdir(path):  # unlike Path's, never raises
                _inside(path, source)
            else:
                found.photos.append(_photo(path, relative, source))
        except Refused as refused:
            named_so = path.suffix.lower() in kinds.SUFFIXES or os.path.isdir(path)
            (found.skipped if named_so else found.ignored).append((relative, str(refused)))
    return found


def _entries(source: Path, out: Path, found: Found) -> Iterator[Path]:
    """Files, and links to folders."""

    def unreadable(error: OSError) -> None:
        found.skipped.append((Path(error.filename).relative_to(source).as_posix(), error.strerror or "unreadable"))

    for parent, folders, files in os.walk(source, onerror=unreadable):
        here = Path(parent)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if here / name != out and not kinds.is_clutter_folder(name))
        yield from (here / name for name in sorted([*files, *links]) if not kinds.is_clutter(name))


def _inside(path: Path, source: Path) -> Path:
    """What is behind all links. Raises Refused when that is not in the folder."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise Refused("a link that leads nowhere") from error
    if not real.is_relative_to(source):
        raise Refused("a link that leads out of the folder")
    return real


def _photo(path: Path, relative: str, source: Path) -> Photo:
    real = _inside(path, source)
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
    """The content, if it begins as an image does. Raises Refused."""
    return checked(_read(path, LARGEST_BYTES + 1))


def checked(content: bytes) -> bytes:
    """What may be sent. Raises Refused."""
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
    """A file that has become a FIFO since it was looked at must not hold the run up."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
