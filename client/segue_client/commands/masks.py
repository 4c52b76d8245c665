"""Masks beside the names of their photos, never over what is there, or one on stdout."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from segue_client.client import Client
from segue_client.commands.entry import Entry
from segue_client.documents import ChecksumError, Job, ProblemError
from segue_client.failures import UnreachableError, refused
from segue_client.folder.naming import fitted
from segue_client.formats import SUFFIXES
from segue_client.terminal import printable

STREAM = Path("-")  # stdin as a photo, stdout as the place of a mask


class Masks:
    def __init__(self, folder: Path, format: str, suffix: str = "") -> None:  # noqa: A002 - the API's own word
        """Makes the folder. Raises typer.BadParameter."""
        self._folder, self._format, self._suffix = folder, format, suffix or SUFFIXES[format]
        self._claimed: set[Path] = set()
        self._photos: set[Path] = set()
        try:
            if folder != STREAM:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(printable(f"{folder}: {error.strerror}.")) from error

    def claim(self, entry: Entry) -> bool:
        """Whether its mask has a place; if not, the entry says why. A second photo of one name gets a number."""
        photo = Path(entry.photo).absolute()
        if photo in self._photos:
            entry.problem = refused("Not sent", "given twice")
            return False
        self._photos.add(photo)
        entry.target = self._free(entry)
        if self._folder != STREAM and os.path.lexists(entry.target):
            entry.problem = refused("Not sent", f"{entry.target} is there already")
            return False
        return True

    def keep(self, client: Client, entry: Entry, job: Job) -> None:
        """Fetch it and write it whole; if that fails, the entry says why."""
        target = entry.target = entry.target or self._free(entry)
        try:
            self._write(target, client.mask(job, self._format))
            entry.mask = target
        except FileExistsError:
            entry.problem = refused("Not written", f"{target} is there already")
        except OSError as error:
            entry.problem = refused("Not written", f"{target}: {error.strerror}")
        except ProblemError as error:
            entry.problem = error.document
        except ChecksumError:
            entry.problem = refused("Not fetched", "what arrived is not what the worker wrote")
        except UnreachableError as error:
            entry.problem = refused("Not fetched", str(error))
        except ValueError:
            entry.problem = refused("Not fetched", f"the service has no {self._format} of this mask")

    def _free(self, entry: Entry) -> Path:
        """One name in the folder: the service tells file names that another client may have sent."""
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
    out: Path | None, format: str, suffix: str, wanted: Sequence[str], *, as_json: bool,  # noqa: A002
) -> Masks | None:  # fmt: skip
    """What --out, --format and --suffix ask for. Raises typer.BadParameter."""
    if out == STREAM and (len(wanted) != 1 or as_json):
        raise typer.BadParameter("--out - writes one mask to stdout: name one photo or job, without --json.")
    return Masks(out, format, suffix) if out else None


def _write_new(target: Path, content: bytes) -> None:
    """Raises FileExistsError. Nothing is left of what was not written whole."""
    with target.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            target.unlink()
            raise
