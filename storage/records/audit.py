"""The audit log. Triggers refuse to change rows, and to remove young ones (docs/decisions/0023)."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import uuid_utils
from sqlalchemy import Connection, Row, delete, select

from storage.clock import now_ms
from storage.records.audit_event import Action, Counted, Event
from storage.records.sql import Database
from storage.records.tables import audit_log as table

# The database's triggers refuse to remove younger rows.
SHORTEST_DAYS = 30
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class AuditFilter:
    """Which events a list contains. None: any."""

    action: Action | None = None
    actor: str | None = None
    key_id: str | None = None
    since_ms: int = 0


class Audit:
    """Raises Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, events: Iterable[Counted]) -> None:
        with self._database.begin() as connection:
            insert(connection, events)

    def newest(self, wanted: AuditFilter, limit: int) -> list[Counted]:
        """Up to `limit` matching events, newest first."""
        conditions = [table.c.at_ms >= wanted.since_ms]
        for name in ("action", "actor", "key_id"):
            if (value := getattr(wanted, name)) is not None:
                conditions.append(table.c[name] == value)
        chosen = select(table).where(*conditions).order_by(table.c.at_ms.desc(), table.c.id.desc()).limit(limit)
        with self._database.begin() as connection:
            return [_from_row(row) for row in connection.execute(chosen)]

    def forget(self, days: int) -> int:
        """Remove rows older than `days`, at least SHORTEST_DAYS + 1. Returns how many."""
        over_ms = now_ms() - max(days, SHORTEST_DAYS + 1) * DAY_MS
        with self._database.begin() as connection:
            return connection.execute(delete(table).where(table.c.at_ms < over_ms)).rowcount


def note(connection: Connection, event: Event) -> None:
    """Write one event in the same transaction as the change that it records."""
    insert(connection, [Counted(event, now_ms())])


def insert(connection: Connection, events: Iterable[Counted]) -> None:
    rows = [
        {"id": f"aud_{uuid_utils.uuid7().hex}", "at_ms": one.at_ms, "count": one.count, **asdict(one.event)}
        for one in events
    ]
    if rows:
        connection.execute(table.insert(), rows)


def _from_row(row: Row[Any]) -> Counted:
    values = dict(row._mapping)
    names = ("actor", "key_id", "source", "target", "detail")
    event = Event(Action(values["action"]), **{name: values[name] for name in names})
    return Counted(event, values["at_ms"], values["count"])
