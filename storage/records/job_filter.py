"""Which jobs a list is asked for, and where a page of it ended."""

import re
from dataclasses import dataclass

from storage.job import Status

_CURSOR = re.compile(r"([0-9]{1,15})-(job_[0-9a-f]{32})")


@dataclass(frozen=True)
class Wanted:
    """Which of a tenant's jobs: of one status, of one batch, created after a time (ms UTC). None: any."""

    status: Status | None = None
    batch_id: str | None = None
    created_after_ms: int | None = None


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: its last job."""

    created_ms: int
    job_id: str

    def __str__(self) -> str:
        return f"{self.created_ms}-{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises ValueError for what `str` did not write."""
        found = _CURSOR.fullmatch(text)
        if not found:
            raise ValueError("no cursor")
        return cls(int(found.group(1)), found.group(2))
