"""What a run is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path

from segue_client.connection import address

SUFFIXES = {"index": ".png", "overlay": ".jpg"}


class UsageError(ValueError):
    """The command cannot be carried out as it was given."""


@dataclass(frozen=True)
class Order:
    """What is wanted: masks of the photos under `source`, as `{out}/{path}{suffix}`."""

    source: Path
    out: Path
    url: str
    format: str = "index"
    name: str = ""
    model: str = "stable"
    concurrency: int = 4
    retry_failed: bool = False
    key: str = field(default="", repr=False)

    def check(self) -> None:
        """Raises UsageError."""
        if not self.source.is_dir():
            raise UsageError(f"{self.source} is not a folder.")
        if self.source.resolve().is_relative_to(self.out.resolve()):
            raise UsageError("OUT would hold the photos themselves: choose another, or one inside IN.")
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is not a folder.")
        if self.format not in SUFFIXES:
            raise UsageError(f"format: one of {', '.join(SUFFIXES)}.")
        if self.concurrency < 1:
            raise UsageError("concurrency: at least 1.")
        try:
            address(self.url)
        except ValueError as error:
            raise UsageError(str(error)) from error
