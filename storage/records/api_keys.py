"""The table of API keys. It stores only a digest of each key; the key itself is shown once."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from sqlalchemy import BindParameter, Row, bindparam, func, or_, select, update

from storage.clock import now_ms
from storage.records import audit
from storage.records.api_key import ApiKey, KeyState, Scope, check_tenant, digest
from storage.records.audit_event import OPERATOR, Action, Event
from storage.records.sessions import end
from storage.records.sql import Database
from storage.records.tables import api_keys as table
from storage.records.tables import sessions

SHELL = "shell"


class ApiKeys:
    """Raises Unavailable if the database does not answer.

    `shard`: the name in the text of new keys, by which the load balancer finds this installation;
    empty for a single one. `source`: the origin of a change, for the audit log.
    """

    def __init__(self, database: Database, shard: str = "") -> None:
        self._database, self._shard = database, shard

    def create(
        self, tenant: str, scopes: frozenset[Scope], name: str = "", expires_ms: int = 0, source: str = SHELL
    ) -> tuple[ApiKey, str]:
        """Returns the key as stored, and its text with 256 random bits, which cannot be read again.

        Raises ValueError if `tenant` is not a valid name.
        """
        check_tenant(tenant)
        key_id = secrets.token_hex(6)
        text = self._text(key_id)
        key = ApiKey(key_id, digest(text), tenant, scopes, name, now_ms(), expires_ms=expires_ms)
        detail = f"{tenant}: {', '.join(sorted(scopes))}"
        with self._database.begin() as connection:
            connection.execute(table.insert().values(**{**asdict(key), "scopes": sorted(scopes)}))
            audit.note(connection, Event(Action.KEY_CREATED, OPERATOR, key_id, source, key_id, detail))
        return key, text

    def rotate(self, key_id: str, grace_ms: int, source: str = SHELL) -> tuple[ApiKey, str] | None:
        """Give a valid key a new secret. The old one stays valid for `grace_ms`.

        Returns the same as `create`; None if there is no valid key with this id.
        """
        with self._database.begin(alone=True) as connection:
            row = connection.execute(select(table).where(table.c.id == key_id)).first()
            key, now, text = _from_row(row) if row else None, now_ms(), self._text(key_id)
            if key is None or key.state(now) is not KeyState.VALID:
                return None
            changes = {
                "digest": digest(text),
                "rotated_ms": now,
                "old_digest": key.digest,
                "old_until_ms": now + grace_ms,
            }
            connection.execute(update(table).where(table.c.id == key_id).values(**changes))
            detail = f"{key.tenant}: old secret accepted for {grace_ms // 1000} s"
            audit.note(connection, Event(Action.KEY_ROTATED, OPERATOR, key_id, source, key_id, detail))
        return replace(key, **cast(dict[str, Any], changes)), text

    def find(self, key_id: str) -> ApiKey | None:
        """The key, even if it is revoked or expired; None for an unknown id."""
        with self._database.begin() as connection:
            row = connection.execute(select(table).where(table.c.id == key_id)).first()
        return _from_row(row) if row else None

    def all(self) -> list[ApiKey]:
        """All keys, oldest first, including revoked and expired ones."""
        with self._database.begin() as connection:
            return [_from_row(row) for row in connection.execute(select(table).order_by(table.c.created_ms))]

    def any_valid(self) -> bool:
        unexpired = or_(table.c.expires_ms == 0, table.c.expires_ms > now_ms())
        with self._database.begin() as connection:
            statement = select(func.count()).select_from(table).where(table.c.revoked_ms == 0, unexpired)
            return bool(connection.execute(statement).scalar())

    def revoke(self, key_id: str, source: str = SHELL) -> bool:
        """Revoke the key and end its sessions.

        Returns False if it is unknown or already revoked.
        """
        with self._database.begin() as connection:
            statement = update(table).where(table.c.id == key_id, table.c.revoked_ms == 0).values(revoked_ms=now_ms())
            revoked = bool(connection.execute(statement).rowcount)
            if revoked:
                end(connection, sessions.c.key_id == key_id)
                audit.note(connection, Event(Action.KEY_REVOKED, OPERATOR, key_id, source, key_id))
        return revoked

    def used(self, last: Mapping[str, int]) -> None:
        """Store when keys were last used. `last`: key id → ms UTC."""
        at: BindParameter[int] = bindparam("at")
        chosen = (table.c.id == bindparam("key"), table.c.last_used_ms < at)
        statement = update(table).where(*chosen).values(last_used_ms=at)
        with self._database.begin() as connection:
            connection.execute(statement, [{"key": key_id, "at": ms} for key_id, ms in sorted(last.items())])

    def _text(self, key_id: str) -> str:
        shard = f"{self._shard}_" if self._shard else ""
        return f"seg_{shard}{key_id}_{secrets.token_urlsafe(32)}"


def _from_row(row: Row[Any]) -> ApiKey:
    values = cast(dict[str, Any], dict(row._mapping))
    return ApiKey(**{**values, "scopes": frozenset(map(Scope, values["scopes"]))})
