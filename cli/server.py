"""What an operator's commands reach: the storage that the settings name."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segue_client.commands.output import fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.connection import Storage
    from storage.records.audit_event import Action, Event
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


def audit(storage: "Storage", event: "Event") -> None:
    """Record an operator's act. Without the database it is done all the same, and said."""
    from storage.clock import now_ms
    from storage.problems import Unavailable
    from storage.records.audit_event import Counted

    try:
        storage.audit.write([Counted(event, now_ms())])
    except Unavailable as error:
        typer.echo(f"not recorded in the audit log: {error}", err=True)


def operated(action: "Action", target: str = "", detail: str = "") -> "Event":
    """What the user of this shell does."""
    from storage.records.audit_event import OPERATOR, Event

    return Event(action, OPERATOR, "", shell_user(), target, detail)


def shell_user() -> str:
    return f"shell uid {os.getuid()}"


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
