"""API keys: who may call, as whom, and what for. Only a key's digest is stored; the key itself is shown once."""

import secrets
import time
from typing import Any, cast

from sqlalchemy import Row, func, select, update

from storage.records.api_key import ApiKey, Scope, check_tenant, digest
from storage.records.sql import Database
from storage.records.tables import api_keys as table


class ApiKeys:
    """Raises Unavailable where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant: str, scopes: frozenset[Scope], name: str = "") -> tuple[ApiKey, str]:
        """→ the key as it is stored, and its text of 256 random bits, which nobody can tell again.

        Raises ValueError for what cannot be a tenant's name.
        """
        check_tenant(tenant)
        key_id = secrets.token_hex(6)
        text = f"seg_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(key_id, digest(text), tenant, scopes, name, _now_ms())
        with self._database.begin() as connection:
            connection.execute(
                table.insert().values(
                    id=key.id,
                    digest=key.digest,
                    tenant=tenant,
                    scopes=sorted(scopes),
                    name=name,
                    created_ms=key.created_ms,
                    revoked_ms=0,
                )
            )
        return key, text

    def find(self, key_id: str) -> ApiKey | None:
        """Also a revoked one."""
        with self._database.begin() as connection:
            row = connection.execute(select(table).where(table.c.id == key_id)).first()
        return _from_row(row) if row else None

    def all(self) -> list[ApiKey]:
        """In the order they were made."""
        with self._database.begin() as connection:
            return [_from_row(row) for row in connection.execute(select(table).order_by(table.c.created_ms))]

    def any_valid(self) -> bool:
        with self._database.begin() as connection:
            statement = select(func.count()).select_from(table).where(table.c.revoked_ms == 0)
            return bool(connection.execute(statement).scalar())

    def revoke(self, key_id: str) -> bool:
        """→ whether there was such a key that was valid until now."""
        with self._database.begin() as connection:
            statement = update(table).where(table.c.id == key_id, table.c.revoked_ms == 0).values(revoked_ms=_now_ms())
            return bool(connection.execute(statement).rowcount)


def _from_row(row: Row[Any]) -> ApiKey:
    values = cast(dict[str, Any], dict(row._mapping))
    return ApiKey(**{**values, "scopes": frozenset(map(Scope, values["scopes"]))})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
