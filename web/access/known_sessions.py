"""Sessions that this process has read recently, and their last use."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from storage.clock import now_ms
from storage.problems import Unavailable
from storage.records.session import Session
from web.access import remembered
from web.access.remembered import Remembered

NOTE_MS = 60_000  # the longest interval between two records of a session's last use


class KnownSessions:
    """A cache of sessions by the digests of their tokens.

    `note`: stores a session's id and the time of its last use (ms).
    """

    def __init__(
        self, find: Callable[[str], Session | None], fresh_s: float, idle_s: int, note: Callable[[str, int], None]
    ) -> None:
        def ended(digest: str) -> bool:
            found = find(digest)
            return found is not None and bool(found.ended_ms)

        self._stored, self._ended = Remembered(find, fresh_s), Remembered(ended, fresh_s)
        self._idle_ms, self._note = idle_s * 1000, note
        self._used: OrderedDict[str, int] = OrderedDict()

    def knows(self, digest: str) -> bool:
        return self._stored.knows(digest)

    def drop(self, digest: str) -> None:
        """Forget a session that ended here. Other processes notice when their copy expires."""
        self._stored.drop(digest)
        self._ended.drop(digest)

    def active(self, digest: str, use: bool = True) -> Session | None:
        """Return the session, None if it is unknown or has ended. `use`: count this as a use.

        Raises Unavailable.
        """
        session, now = self._stored.get(digest), now_ms()
        if session is None:
            return None
        session = replace(session, seen_ms=max(session.seen_ms, self._used.get(session.id, 0)))
        if not session.active(now, self._idle_ms):
            return None
        if use and now - session.seen_ms > min(NOTE_MS, self._idle_ms // 10):
            self._use(session.id, now)
        return session

    def ended(self, digest: str) -> bool:
        """Return whether an anonymous session ended early; only then does it have a row.

        During an outage of the database, return False.
        """
        try:
            return bool(self._ended.get(digest))
        except Unavailable:
            return False

    def _use(self, session_id: str, now: int) -> None:
        self._used.pop(session_id, None)
        self._used[session_id] = now
        while len(self._used) > remembered.MOST:
            self._used.popitem(last=False)
        self._note(session_id, now)
