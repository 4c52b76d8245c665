"""Connects the operator's commands to Redis, the object store and the SQL database."""

import os
from contextlib import closing, contextmanager
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
    """Yield the storage of the settings. An outage prints one line and exits."""
    from storage.connection import connect
    from telemetry import logs

    settings = _settings()
    logs.configure_command(settings.log_format)
    with _outages(), closing(connect(settings)) as storage:
        yield storage


@contextmanager
def database() -> "Iterator[Database]":
    """Yield the SQL database alone, for commands that need no other credentials."""
    from storage.records.sql import Database

    with _outages():
        made = Database(_settings().sql_url.get_secret_value())
        try:
            yield made
        finally:
            made.dispose()


def audit(storage: "Storage", event: "Event") -> None:
    """Write an event to the audit log. If the database is down, print a warning and continue."""
    from storage.clock import now_ms
    from storage.problems import Unavailable
    from storage.records.audit_event import Counted

    try:
        storage.audit.write([Counted(event, now_ms())])
    except Unavailable as error:
        typer.echo(f"not recorded in the audit log: {error}", err=True)


def operated(action: "Action", target: str = "", detail: str = "") -> "Event":
    """An audit event of an action by this shell's user."""
    from storage.records.audit_event import OPERATOR, Event

    return Event(action, OPERATOR, "", shell_user(), target, detail)


def shell_user() -> str:
    return f"shell uid {os.getuid()}"


def _settings() -> "Settings":
    """The settings from the environment or, if it has none, from $VAR/env, which `make run` writes."""
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
