"""The cursor between the pages of the review inbox. This module does not import SQLAlchemy."""

import re
from dataclasses import dataclass

_CURSOR = re.compile(r"([01]\.[0-9]{1,6})-(job_[0-9a-f]{32})")


@dataclass(frozen=True)
class Cursor:
    """The last review of a page; the next page begins after it."""

    priority: float
    job_id: str

    def __str__(self) -> str:
        return f"{self.priority:.6f}-{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The inverse of `str`. Raises ValueError for other text."""
        found = _CURSOR.fullmatch(text)
        if not found:
            raise ValueError("not a cursor")
        return cls(float(found.group(1)), found.group(2))
