"""The table of browser sessions. With it the server can end a session (docs/decisions/0024)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, and_, bindparam, delete, select, update

from storage.clock import now_ms
from storage.records import audit
from storage.records.audit_event import Action, Event
from storage.records.session import Session
from storage.records.sql import Database
from storage.records.tables import sessions as table

MOST_LISTED = 200


class Sessions:
    """Raises Unavailable if the database does not answer. `by`: the event for the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, session: Session, source: str) -> None:
        event = Event(Action.SESSION_BEGUN, session.tenant, session.key_id, source, session.id)
        with self._database.begin() as connection:
            connection.execute(table.insert().values(**asdict(session)))
            audit.note(connection, event)

    def find(self, digest: str) -> Session | None:
        """The session with this token digest, even if it has ended; None for an unknown one."""
        with self._database.begin() as connection:
            row = connection.execute(select(table).where(table.c.digest == digest)).first()
        return _from_row(row) if row else None

    def of_key(self, key_id: str) -> list[Session]:
        return self._open(table.c.key_id == key_id)

    def of_tenant(self, tenant: str) -> list[Session]:
        return self._open(table.c.tenant == tenant)

    def _open(self, chosen: ColumnElement[bool]) -> list[Session]:
        """Up to MOST_LISTED open sessions, most recently used first."""
        wanted = select(table).where(chosen, table.c.ended_ms == 0, table.c.expires_ms > now_ms())
        newest = wanted.order_by(table.c.seen_ms.desc(), table.c.id).limit(MOST_LISTED)
        with self._database.begin() as connection:
            return [_from_row(row) for row in connection.execute(newest)]

    def end_one(self, session_id: str, key_id: str, by: Event) -> int:
        """Returns how many sessions ended: 0 if the key has no such open session."""
        return self._end(and_(table.c.id == session_id, table.c.key_id == key_id), by)

    def end_key(self, key_id: str, by: Event) -> int:
        return self._end(table.c.key_id == key_id, by)

    def end_tenant(self, tenant: str, by: Event) -> int:
        return self._end(table.c.tenant == tenant, by)

    def end_unstored(self, session: Session, by: Event) -> None:
        """End an anonymous session. Only then does it get a row, so that its token is refused."""
        with self._database.begin(alone=True) as connection:
            known = connection.execute(select(table.c.id).where(table.c.digest == session.digest)).first()
            if not known:
                connection.execute(table.insert().values(**{**asdict(session), "ended_ms": now_ms()}))
                audit.note(connection, by)

    def _end(self, chosen: ColumnElement[bool], by: Event) -> int:
        with self._database.begin() as connection:
            ended = end(connection, chosen)
            if ended:
                audit.note(connection, by)
        return ended

    def seen(self, last: Mapping[str, int]) -> None:
        """Store when sessions were last used. `last`: session id → ms UTC."""
        at: BindParameter[int] = bindparam("at")
        chosen = (table.c.id == bindparam("session"), table.c.seen_ms < at)
        statement = update(table).where(*chosen).values(seen_ms=at)
        with self._database.begin() as connection:
            connection.execute(statement, [{"session": one, "at": ms} for one, ms in sorted(last.items())])

    def forget(self) -> int:
        """Remove all expired sessions. Returns how many."""
        with self._database.begin() as connection:
            return connection.execute(delete(table).where(table.c.expires_ms < now_ms())).rowcount


def end(connection: Connection, chosen: ColumnElement[bool]) -> int:
    """End the chosen sessions that are open. Returns how many."""
    return connection.execute(update(table).where(chosen, table.c.ended_ms == 0).values(ended_ms=now_ms())).rowcount


def _from_row(row: Row[Any]) -> Session:
    return Session(**dict(row._mapping))
