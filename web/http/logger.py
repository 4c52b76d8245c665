"""gunicorn's own log lines, in the form of all others."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from storage.settings import Settings
from telemetry.logs import formatter


class GunicornLogger(Logger):  # type: ignore[misc]
    """Referenced by name in deploy/gunicorn.py."""

    def _set_handler(self, log: Any, output: Any, _: logging.Formatter, stream: Any = None) -> None:
        super()._set_handler(log, output, formatter(Settings().log_format), stream)
