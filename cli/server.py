"""What an operator's commands reach: the storage that the settings name."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from segue_client.commands.output import fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.connection import Storage
    from storage.records.sql import Database
    from storage.settings import Settings


@contextmanager
def connected() -> "Iterator[Storage]":
    """The storage that the settings name. An outage is one line and not a traceback."""
    from storage.connection import connect

    with _outages():
        yield connect(_settings())


@contextmanager
def database() -> "Iterator[Database]":
    """Only the SQL database: whoever makes keys needs no other credentials."""
    from storage.records.sql import Database

    with _outages():
        made = Database(_settings().sql_url.get_secret_value())
        yield made
        made.dispose()


def _settings() -> "Settings":
    """By the environment, or what `make run` left in $VAR/env."""
    from storage.settings import Settings

    return Settings(_env_file=Path(os.environ.get("VAR") or "var") / "env")  # type: ignore[call-arg]


@contextmanager
def _outages() -> "Iterator[None]":
    from redis import RedisError

    from storage.problems import Unavailable

    try:
        yield
    except (Unavailable, RedisError) as error:
        fail(f"not available: {error}")
