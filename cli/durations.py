"""Times on the command line: durations (30s, 15m, 12h, 90d) that it takes, and timestamps that it prints."""

import re
from datetime import UTC, datetime

import typer

UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
LONGEST_MS = 10 * 365 * UNITS_MS["d"]


def span_ms(text: str) -> int:
    """Parse a duration into milliseconds.

    Raises BadParameter if it is not valid or exceeds ten years.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    span = int(found.group(1)) * UNITS_MS[found.group(2)] if found else LONGEST_MS + 1
    if span > LONGEST_MS:
        raise typer.BadParameter("a number and s, m, h or d: 15m, 12h, 90d; at most ten years")
    return span


def timestamp(ms: int) -> str | None:
    """Format a time in ms as RFC 3339 in UTC; None for 0."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else None
