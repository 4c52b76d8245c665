"""Connects the operator's commands to Redis, the object store and the SQL database."""

import os
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from segue_client.commands.output import USAGE, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError

    from storage.connection import Storage
    from storage.records.audit_event import Action, Event
    from storage.records.sql import Database
    from storage.settings import Settings


@contextmanager
def connected() -> "Iterator[Storage]":
    """Yield the storage of the settings. An outage, or a wrong or missing setting, prints one line and exits."""
    from storage.connection import connect
    from telemetry import logs

    settings = _settings()
    if not settings.s3_secret_key.get_secret_value():
        fail(f"S3_SECRET_KEY is not set, and {_env_file()} does not contain it: set it, or set VAR.", USAGE)
    logs.configure_command(settings.log_format)
    with _misconfiguration():
        made = connect(settings)
    with _outages(), closing(made) as storage:
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


def shard() -> str:
    """The name in the keys that this installation creates."""
    return _settings().shard


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
    """The settings from the environment or, if it has none, from the file that `make run` writes."""
    from storage.settings import Settings

    with _misconfiguration():
        return Settings(_env_file=_env_file())  # type: ignore[call-arg]


def _env_file() -> Path:
    return Path(os.environ.get("VAR") or "var") / "env"


@contextmanager
def _misconfiguration() -> "Iterator[None]":
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        fail(f"wrong configuration: {'; '.join(_reasons(error))}", USAGE)
    except (OSError, ValueError) as error:
        fail(f"wrong configuration: {error}", USAGE)


def _reasons(error: "ValidationError") -> "Iterator[str]":
    """Name the variables. Reasons that a validator of ours gave name them already."""
    for one in error.errors():
        variable = f"{one['loc'][0]}: ".upper() if one["loc"] else ""
        yield variable + one["msg"].removeprefix("Value error, ")


@contextmanager
def _outages() -> "Iterator[None]":
    from redis import RedisError

    from storage.problems import Unavailable

    try:
        yield
    except RedisError as error:
        _not_available(f"redis: {error}")
    except Unavailable as error:
        _not_available(str(error))


def _not_available(what: str) -> NoReturn:
    fail(f"not available: {what.rstrip('.')}. Check REDIS_URL, S3_URL, SQL_URL: `segue doctor` shows which part fails.")
