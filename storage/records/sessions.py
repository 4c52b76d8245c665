"""Sessions of browsers, so that the server can end one (docs/decisions/0024)."""

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
    """Raises Unavailable where the database does not answer. `by`: who ends sessions, for the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, session: Session, source: str) -> None:
        event = Event(Action.SESSION_BEGUN, session.tenant, session.key_id, source, session.id)
        with self._database.begin() as connection:
            connection.execute(table.insert().values(**asdict(session)))
            audit.note(connection, event)

    def find(self, digest: str) -> Session | None:
        """By its token's digest; also one that has ended."""
        with self._database.begin() as connection:
            row = connection.execute(select(table).where(table.c.digest == digest)).first()
        return _from_row(row) if row else None

    def of_key(self, key_id: str) -> list[Session]:
        return self._open(table.c.key_id == key_id)

    def of_tenant(self, tenant: str) -> list[Session]:
        return self._open(table.c.tenant == tenant)

    def _open(self, chosen: ColumnElement[bool]) -> list[Session]:
        """Those that have not ended, the one used last first."""
        wanted = select(table).where(chosen, table.c.ended_ms == 0, table.c.expires_ms > now_ms())
        newest = wanted.order_by(table.c.seen_ms.desc(), table.c.id).limit(MOST_LISTED)
        with self._database.begin() as connection:
            return [_from_row(row) for row in connection.execute(newest)]

    def end_one(self, session_id: str, key_id: str, by: Event) -> int:
        """→ how many ended: 0 where the key has no such session."""
        return self._end(and_(table.c.id == session_id, table.c.key_id == key_id), by)

    def end_key(self, key_id: str, by: Event) -> int:
        return self._end(table.c.key_id == key_id, by)

    def end_tenant(self, tenant: str, by: Event) -> int:
        return self._end(table.c.tenant == tenant, by)

    def end_unstored(self, session: Session, by: Event) -> None:
        """For an anonymous session, which has no row until it ends."""
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
        """Note when sessions were used last, by their ids."""
        at: BindParameter[int] = bindparam("at")
        chosen = (table.c.id == bindparam("session"), table.c.seen_ms < at)
        statement = update(table).where(*chosen).values(seen_ms=at)
        with self._database.begin() as connection:
            connection.execute(statement, [{"session": one, "at": ms} for one, ms in sorted(last.items())])

    def forget(self) -> int:
        """Remove those whose time is over, whether they ended before or not. → how many"""
        with self._database.begin() as connection:
            return connection.execute(delete(table).where(table.c.expires_ms < now_ms())).rowcount


def end(connection: Connection, chosen: ColumnElement[bool]) -> int:
    """→ how many of the chosen ones had not ended before"""
    return connection.execute(update(table).where(chosen, table.c.ended_ms == 0).values(ended_ms=now_ms())).rowcount


def _from_row(row: Row[Any]) -> Session:
    return Session(**dict(row._mapping))
