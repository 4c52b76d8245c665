"""Log lines with one event each, as text or as JSON, which the content of a request cannot forge.

    log.warning("lease_expired", extra={"job": job_id})

The message of a line is the event's name; everything variable is a field. docs/logs-and-traces.md
lists all events, and a test compares it with the code.
"""

import json
import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["text", "json"]

OURS = {"web", "worker", "learning", "storage", "model", "cli", "telemetry"}  # whose lines are events
FOREIGN = "message"  # the event of a library's line, whose text is the field `message`
STANDARD = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
# C0 and C1 controls, line and paragraph separators, and bidirectional controls.
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PLAIN = re.compile(r"[^\s\"=]+")  # needs no quotes in a line of text

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039 - never changed


def configure(level: str, form: Format, force: bool = False) -> None:
    """Send the lines of this process to stderr. `force`: even if a library has added handlers before."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=level, handlers=[handler], force=force)
    logging.captureWarnings(True)


def configure_command(form: Format) -> None:
    """As `configure`, for a command, which prints what failed itself: libraries log errors only."""
    configure("ERROR", form)
    for package in OURS:
        logging.getLogger(package).setLevel("WARNING")


def formatter(form: Format) -> logging.Formatter:
    return JsonLines() if form == "json" else TextLines()


def bind(**fields: str) -> None:
    """Add these fields to every further line of this thread or greenlet, in place of those bound before."""
    _context.set({name: value for name, value in fields.items() if value})


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """The event's name, then its fields."""
    if record.name.partition(".")[0] not in OURS:
        return {"event": FOREIGN, "message": record.getMessage()}
    own = {name: value for name, value in vars(record).items() if name not in STANDARD}
    return {"event": record.getMessage(), **_context.get(), **own}


class JsonLines(logging.Formatter):
    """One JSON object per line, ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname, "logger": record.name, **event_of(record)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextLines(logging.Formatter):
    """Time, level, logger, event, then name=value. The lines of a traceback follow, each after a bar."""

    def format(self, record: logging.LogRecord) -> str:
        fields = event_of(record)
        words = [_time(record), record.levelname, record.name, str(fields.pop("event"))]
        words += [f"{name}={_shown(value)}" for name, value in fields.items()]
        line = escaped(" ".join(words))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  | {escaped(line)}" for line in lines)


def escaped(text: str) -> str:
    """Escape control characters as in a Python string."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _shown(value: Any) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
