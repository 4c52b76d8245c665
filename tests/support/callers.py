"""Apps that require API keys, and the keys and headers of their callers."""

from typing import Any

from flask import Flask
from pydantic import SecretStr

from storage.connection import Storage
from storage.records.api_key import Scope
from web.app import create_app

SECRET = "a secret of the tests, long enough to sign with"
BOTH = (Scope.SUBMIT, Scope.READ)


def guarded(connection: Storage, **changes: Any) -> Flask:
    """The Flask app of a server that requires API keys."""
    asked = {"require_keys": True, "session_secret": SecretStr(SECRET), **changes}
    return create_app(connection.settings.replace(**asked))


def new_key(connection: Storage, tenant: str = "acme", scopes: tuple[Scope, ...] = BOTH) -> str:
    return connection.api_keys.create(tenant, frozenset(scopes))[1]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
