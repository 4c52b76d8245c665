"""Writes masks into a folder, named after their photos, or one mask to stdout.

Overwrites no file.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from segue_client.client import Client
from segue_client.commands.entry import Entry
from segue_client.documents import ChecksumError, Job, ProblemError
from segue_client.failures import UnreachableError, local_problem
from segue_client.folder.naming import fitted
from segue_client.formats import SUFFIXES
from segue_client.terminal import printable

STREAM = Path("-")  # stdin as a photo, stdout for a mask


class Masks:
    def __init__(self, folder: Path, format: str, suffix: str = "") -> None:  # noqa: A002 - the API's own word
        """Create the folder. Raises typer.BadParameter."""
        self._folder, self._format, self._suffix = folder, format, suffix or SUFFIXES[format]
        self._claimed: set[Path] = set()
        self._photos: set[Path] = set()
        try:
            if folder != STREAM:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(printable(f"{folder}: {error.strerror}.")) from error

    def claim(self, entry: Entry) -> bool:
        """Reserve a file for the mask and return True; if that fails, set the entry's problem.

        Photos from different folders may have the same name: then the second mask's name gets a number.
        """
        photo = Path(entry.photo).absolute()
        if photo in self._photos:
            entry.problem = local_problem("Not sent", "given twice")
            return False
        self._photos.add(photo)
        entry.target = self._free(entry)
        if self._folder != STREAM and os.path.lexists(entry.target):
            entry.problem = local_problem("Not sent", f"{entry.target} already exists")
            return False
        return True

    def save(self, client: Client, entry: Entry, job: Job) -> None:
        """Fetch the mask and write it; if that fails, set the entry's problem.

        Leaves no partial file.
        """
        target = entry.target = entry.target or self._free(entry)
        try:
            self._write(target, client.mask(job, self._format))
            entry.mask = target
        except FileExistsError:
            entry.problem = local_problem("Not written", f"{target} already exists")
        except OSError as error:
            entry.problem = local_problem("Not written", f"{target}: {error.strerror}")
        except ProblemError as error:
            entry.problem = error.document
        except ChecksumError:
            entry.problem = local_problem("Not fetched", "the received mask does not match its SHA-256")
        except UnreachableError as error:
            entry.problem = local_problem("Not fetched", str(error))
        except ValueError:
            entry.problem = local_problem("Not fetched", f"this mask is not available as {self._format}")

    def _free(self, entry: Entry) -> Path:
        """A file name that is not reserved yet, directly in the folder.

        The photo's name may come from the server, and another client may have chosen it: only its last
        part is used.
        """
        if self._folder == STREAM:
            return STREAM
        photo = "stdin" if entry.photo == str(STREAM) else entry.photo
        name = photo or (entry.job.input.get("filename") if entry.job else "") or entry.id
        plain, number = re.split(r"[/\\]", name)[-1].replace("\0", ""), 1
        target = self._folder / fitted(plain, self._suffix)
        while target in self._claimed:
            number += 1
            target = self._folder / fitted(plain, f"-{number}{self._suffix}")
        self._claimed.add(target)
        return target

    def _write(self, target: Path, content: bytes) -> None:
        if target == STREAM:
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        else:
            _write_new(target, content)


def masks_for(
    out: Path | None, format: str, suffix: str, arguments: Sequence[str], *, as_json: bool,  # noqa: A002
) -> Masks | None:  # fmt: skip
    """The writer for --out, --format and --suffix; None without --out.

    Raises typer.BadParameter.
    """
    if out == STREAM and (len(arguments) != 1 or as_json):
        raise typer.BadParameter("--out - writes one mask to stdout: name one photo or job, without --json.")
    return Masks(out, format, suffix) if out else None


def _write_new(target: Path, content: bytes) -> None:
    """Create the file; remove it again if it cannot be written completely. Raises OSError."""
    with target.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            target.unlink()
            raise
