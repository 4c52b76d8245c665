"""A buffer for what a web process writes to SQL: audit events, and the last use of keys and sessions.

A thread writes the buffer every few seconds, so a database outage delays no request. The buffer is
bounded, so an attacker cannot fill memory or disk.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from storage.clock import now_ms
from storage.connection import Storage
from storage.problems import Unavailable
from storage.records.audit_event import Action, Counted, Event
from web.sql_timeout import within_timeout

FLUSH_S = 5.0
MOST = 10_000  # of the different events in the buffer, of the keys, and of the sessions
# Any client can cause these. So many different ones per minute are written separately; the others
# are counted together.
UNTRUSTED = {Action.AUTH_FAILED, Action.REQUEST_REFUSED}
MOST_SEPARATE, MINUTE_S = 20, 60
OTHERS = "others"

log = logging.getLogger(__name__)


class Journal:
    def __init__(self, storage: Storage) -> None:
        self._storage, self._lock = storage, threading.Lock()
        self._events: OrderedDict[Event, Counted] = OrderedDict()
        self._keys: dict[str, int] = {}
        self._sessions: dict[str, int] = {}
        self._separate: set[Event] = set()
        self._minute = 0.0
        self._running = False

    def note(self, event: Event) -> None:
        with self._lock:
            event = self._bounded(event)
            known = self._events.get(event)
            if known is None and len(self._events) >= MOST:
                log.error("audit_event_lost", extra={"action": event.action})
                return
            self._events[event] = Counted(event, now_ms(), known.count + 1 if known else 1)
        self._start()

    def use_key(self, key_id: str, at_ms: int) -> None:
        self._use(self._keys, key_id, at_ms)

    def use_session(self, session_id: str, at_ms: int) -> None:
        self._use(self._sessions, session_id, at_ms)

    def flush(self) -> None:
        """Write the buffer. Rows that the database does not accept now stay in it."""
        with self._lock:
            events, keys, sessions = list(self._events.values()), dict(self._keys), dict(self._sessions)
            self._events.clear()
            self._keys.clear()
            self._sessions.clear()
        if events and not self._write(lambda: self._storage.audit.write(events)):
            self._put_back(events)
        if keys and not self._write(lambda: self._storage.api_keys.used(keys)):
            self._merge(self._keys, keys)
        if sessions and not self._write(lambda: self._storage.sessions.seen(sessions)):
            self._merge(self._sessions, sessions)

    def _bounded(self, event: Event) -> Event:
        if event.action not in UNTRUSTED or event in self._separate:
            return event
        now = time.monotonic()
        if now - self._minute > MINUTE_S:
            self._minute = now
            self._separate.clear()
        if len(self._separate) >= MOST_SEPARATE:
            return Event(event.action, source=OTHERS)
        self._separate.add(event)
        return event

    def _use(self, last: dict[str, int], name: str, at_ms: int) -> None:
        with self._lock:
            if name in last or len(last) < MOST:
                last[name] = at_ms
        self._start()

    def _put_back(self, events: list[Counted]) -> None:
        with self._lock:
            for one in events:
                if later := self._events.get(one.event):
                    self._events[one.event] = Counted(one.event, later.at_ms, one.count + later.count)
                elif len(self._events) < MOST:
                    self._events[one.event] = one

    def _merge(self, last: dict[str, int], waiting: Mapping[str, int]) -> None:
        with self._lock:
            last.update({name: ms for name, ms in waiting.items() if name not in last and len(last) < MOST})

    def _write(self, write: Callable[[], None]) -> bool:
        try:
            within_timeout(write)
        except Unavailable as error:
            log.warning("audit_delayed", extra={"error": str(error)})
            return False
        return True

    def _start(self) -> None:
        """Start the writer thread unless it runs. It ends when the buffer is empty.

        So no thread runs across a fork, and each process starts its own.
        """
        with self._lock:
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            try:
                self.flush()
            except Exception:
                log.exception("audit_failed")
            with self._lock:
                self._running = bool(self._events or self._keys or self._sessions)
                if not self._running:
                    return
