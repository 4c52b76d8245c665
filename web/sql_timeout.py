"""A time limit for SQL queries, because a database may accept a query and never reply."""

from collections.abc import Callable
from typing import TypeVar

import gevent

from storage.problems import Unavailable
from telemetry.metrics import RECORDS_ERRORS

PATIENCE_S = 4.0

T = TypeVar("T")


def within_timeout(query: Callable[[], T]) -> T:
    """Return the result of `query`. Raises Unavailable if it takes longer than PATIENCE_S.

    gevent.Timeout is not a subclass of Exception, so SQLAlchemy discards the connection instead of
    waiting for a rollback.
    """
    try:
        with gevent.Timeout(PATIENCE_S):
            return query()
    except gevent.Timeout as error:
        RECORDS_ERRORS.inc()
        raise Unavailable(f"records: no answer within {PATIENCE_S:.0f} s") from error
