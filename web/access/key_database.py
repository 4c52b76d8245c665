"""Whether this process can say who calls: it has read the API keys at least once since it started."""

import logging
import time
from collections.abc import Callable

from storage.problems import Unavailable

RETRY_S = 2  # after a failed query, the pause before the next one

log = logging.getLogger(__name__)


class KeyDatabase:
    """Until the database has answered once, the process knows no key and answers 503 to all that send one.

    `query`: asks whether a valid key exists, and raises Unavailable. `needed`: False if callers without a key are
    served.
    """

    def __init__(self, query: Callable[[], bool], needed: bool) -> None:
        self._query, self._answered = query, not needed
        self._tried_at: float | None = None

    def has_answered(self) -> bool:
        """Ask again, but no more often than every RETRY_S, until the database has answered."""
        now = time.monotonic()
        if self._answered or (self._tried_at is not None and now < self._tried_at + RETRY_S):
            return self._answered
        first, self._tried_at = self._tried_at is None, now
        try:
            exists = self._query()
        except Unavailable as error:
            if first:
                log.warning("api_keys_unreadable", extra={"reason": str(error)})
            return False
        self._answered = True
        if not exists:
            log.warning("no_api_key")
        elif not first:
            log.info("api_keys_readable")
        return True
