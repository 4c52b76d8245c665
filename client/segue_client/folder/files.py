"""The output folder. Reads and writes never follow a link in it."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Windows lacks these flags; Order.check() refuses to run there.
NO_LINK, NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK


class KeptError(Exception):
    """The existing file was not written by this command, or was changed since. It is kept."""


class Output:
    def __init__(self, root: Path) -> None:
        self._root = root

    def exists(self, relative: str) -> bool:
        """Whether a regular file has this name. A link does not count."""
        try:
            with self._folder(relative) as (folder, name):
                return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def is_taken(self, relative: str) -> bool:
        """Whether anything has this name: a file, a folder or a link."""
        try:
            with self._folder(relative) as (folder, name):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def digest(self, relative: str) -> str | None:
        """The file's SHA-256; None if it is not a regular, readable file."""
        try:
            with self._folder(relative) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | NO_LINK | NO_WAIT, dir_fd=folder)
                with os.fdopen(descriptor, "rb") as file:
                    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                        return None
                    return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    def write(self, relative: str, content: bytes, known: str | None, *, overwrite: bool) -> None:
        """Write the file atomically. Raises KeptError, OSError.

        Without `overwrite`, an existing file is replaced only if its SHA-256 is `known`.
        """
        if self.is_taken(relative) and not overwrite:
            present = self.digest(relative)
            if present == hashlib.sha256(content).hexdigest():
                return
            if present is None or present != known:
                raise KeptError
        with self._folder(relative, make=True) as (folder, name):
            self._replace(folder, name, content)

    def _replace(self, folder: int, name: str, content: bytes) -> None:
        """Replace the file by way of a temporary one.

        Its name is the same in every run, so that the next run removes what a killed run left.
        """
        temporary = f".segue-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.part"
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        with os.fdopen(os.open(temporary, NEW, 0o666, dir_fd=folder), "wb") as file:
            file.write(content)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

    @contextmanager
    def _folder(self, relative: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Yield the descriptor of the file's folder, and the file's name in it."""
        *parents, name = relative.split("/")
        here = os.open(self._root, FOLDER)
        try:
            for parent in parents:
                there = _step(here, parent, make=make)
                os.close(here)
                here = there
            yield here, name
        finally:
            os.close(here)


def _step(folder: int, name: str, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, FOLDER | NO_LINK, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(error.errno, "its folder's name is taken by a link or a file") from error
        raise
