"""A plugin: closes the SQL connections that a test leaves open.

An app or command under test keeps a pool of connections. If the garbage collector finds it first,
it warns during some later test, which then fails.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

_engines: set[Engine] = set()
_busy: set[Pool] = set()  # a thread still held one of its connections


@event.listens_for(Engine, "engine_connect")
def _remember(connection: Connection) -> None:
    _engines.add(connection.engine)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Empty all pools after the fixtures of a test. An engine that is used again connects again."""
    try:
        yield
    finally:
        pools = _busy | {engine.pool for engine in _engines}
        for engine in list(_engines):
            engine.dispose()
        _engines.clear()
        for pool in pools:
            pool.dispose()
        _busy.clear()
        _busy.update(pool for pool in pools if pool.checkedout() > 0)  # type: ignore[attr-defined]
