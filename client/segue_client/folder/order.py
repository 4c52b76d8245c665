"""The arguments of a run, and their checks."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from segue_client.connection import ConfigurationError, address, clean_key
from segue_client.formats import SUFFIXES, suffix_problem


class UsageError(ValueError):
    """The arguments are not valid."""


@dataclass(frozen=True)
class Order:
    """Masks for the photos under `source`, to be written as `{out}/{path}{suffix}`."""

    source: Path
    out: Path
    url: str
    format: str = "index"
    name: str = ""
    model: str = "stable"
    concurrency: int = 4
    retry_failed: bool = False
    overwrite: bool = False
    own_suffix: str = ""
    by: str = ""  # HH:MM
    tags: tuple[str, ...] = ()
    key: str = field(default="", repr=False)

    @property
    def suffix(self) -> str:
        return self.own_suffix or SUFFIXES[self.format]

    def check(self) -> None:
        """Raises UsageError."""
        if os.open not in os.supports_dir_fd:
            raise UsageError("segue folder needs Linux or macOS.")
        if not self.source.is_dir():
            raise UsageError(f"{self.source} is not a folder.")
        if not os.access(self.source, os.R_OK | os.X_OK):
            raise UsageError(f"{self.source} cannot be read.")
        if self.source.resolve().is_relative_to(self.out.resolve()):
            raise UsageError("OUT contains the photos: choose another folder, or one inside IN.")
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is not a folder.")
        if self.format not in SUFFIXES:
            raise UsageError(f"format: one of {', '.join(SUFFIXES)}.")
        if problem := suffix_problem(self.own_suffix):
            raise UsageError(problem)
        if self.concurrency < 1:
            raise UsageError("concurrency: at least 1.")
        try:
            address(self.url)
            clean_key(self.key)
        except ConfigurationError as error:
            raise UsageError(str(error)) from error
