"""A plugin: closes the SQL connections that a test leaves open.

An app or command under test keeps a pool of connections. If the garbage collector finds it first,
it warns during some later test, which then fails.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry, Pool

_engines: set[Engine] = set()
_entries: set[ConnectionPoolEntry] = set()  # a thread may still hold one when its engine is disposed of


@event.listens_for(Engine, "engine_connect")
def _remember_engine(connection: Connection) -> None:
    _engines.add(connection.engine)


@event.listens_for(Pool, "connect")
def _remember_entry(_: Any, entry: ConnectionPoolEntry) -> None:
    _entries.add(entry)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Empty all pools after the fixtures of a test. An engine that is used again connects again."""
    try:
        yield
    finally:
        for engine in list(_engines):
            engine.dispose()
        _engines.clear()
        for entry in [entry for entry in list(_entries) if not entry.in_use]:
            entry.close()
            _entries.discard(entry)
