"""A bound on how long a request waits for the SQL database, which may accept a question and then stand still."""

from collections.abc import Callable
from typing import TypeVar

import gevent

from storage.problems import Unavailable

PATIENCE_S = 4.0

T = TypeVar("T")


def answered(ask: Callable[[], T]) -> T:
    """Raises Unavailable where there is no answer in time.

    gevent's timeout is no Exception, so SQLAlchemy throws the connection away instead of waiting for its rollback.
    """
    try:
        with gevent.Timeout(PATIENCE_S):
            return ask()
    except gevent.Timeout as error:
        raise Unavailable(f"records: no answer within {PATIENCE_S:.0f} s") from error
