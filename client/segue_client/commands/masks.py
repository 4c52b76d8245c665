"""Masks beside the names of their photos, never over what is there."""

import os
import re
from pathlib import Path

import typer
from httpx import HTTPError

from segue_client.client import Client
from segue_client.commands.entry import Entry, refused
from segue_client.documents import ChecksumError, Job, ProblemError
from segue_client.folder.order import SUFFIXES


class Masks:
    def __init__(self, folder: Path, format: str) -> None:  # noqa: A002 - the API's own word
        """Makes the folder. Raises typer.BadParameter."""
        self._folder, self._format, self._suffix = folder, format, SUFFIXES[format]
        self._claimed: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder}: {error.strerror}.") from error

    def claim(self, entry: Entry) -> bool:
        """Whether its mask has a place; if not, the entry says why."""
        target = self._target(entry)
        if os.path.lexists(target) or target in self._claimed:
            entry.problem = refused("Not sent", f"{target} is there already")
            return False
        self._claimed.add(target)
        return True

    def keep(self, client: Client, entry: Entry, job: Job) -> None:
        """Fetch it and write it whole; if that fails, the entry says why."""
        target = self._target(entry)
        try:
            _write_new(target, client.mask(job, self._format))
            entry.mask = target
        except FileExistsError:
            entry.problem = refused("Not written", f"{target} is there already")
        except OSError as error:
            entry.problem = refused("Not written", f"{target}: {error.strerror}")
        except ProblemError as error:
            entry.problem = error.document
        except (ChecksumError, HTTPError) as error:
            entry.problem = refused("Not fetched", type(error).__name__)

    def _target(self, entry: Entry) -> Path:
        """One name in the folder: the service tells file names that somebody else may have sent."""
        name = entry.photo or (entry.job.input.get("filename") if entry.job else "") or entry.id
        plain = re.split(r"[/\\]", name)[-1].replace("\0", "")
        return self._folder / f"{plain}{self._suffix}"


def _write_new(target: Path, content: bytes) -> None:
    """Raises FileExistsError. Nothing is left of what was not written whole."""
    with target.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            target.unlink()
            raise
