"""Log lines that a client cannot forge: a message stays on one line, whatever the request contains."""

import logging
import re
from typing import Any

from gunicorn.glogging import Logger

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# C0 and C1 controls, line and paragraph separators, and bidirectional controls.
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class OneLine(logging.Formatter):
    """Escapes control characters as in a Python string; prefixes the lines of a traceback with a bar."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  | {escaped(line)}" for line in lines)


class GunicornLogger(Logger):  # type: ignore[misc]
    """Referenced by name in deploy/gunicorn.py."""

    def _set_handler(self, log: Any, output: Any, fmt: logging.Formatter, stream: Any = None) -> None:
        super()._set_handler(log, output, OneLine(fmt._fmt, fmt.datefmt), stream)


def configure(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


def escaped(text: str) -> str:
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
