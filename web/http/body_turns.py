"""Large bodies go on in turns, so that the event loop serves other requests in between."""

from collections import deque

import gevent
from gevent.event import Event

# gevent.sleep(0) would come back before the event loop looks for requests that have arrived.
NEXT_POLL_S = 1e-6


class BodyTurns:
    """One body goes on each time that the event loop polls for I/O.

    The addresses take turns, however many bodies each one sends.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Event]] = {}  # by address; the next one comes first

    def wait(self, owner: str) -> None:
        """Return once it is the turn of this body of `owner`, an address."""
        turn = Event()
        if not self._waiting:
            gevent.spawn(self._give)
        self._waiting.setdefault(owner, deque()).append(turn)
        turn.wait()

    def _give(self) -> None:
        while self._waiting:
            gevent.sleep(NEXT_POLL_S)
            owner = next(iter(self._waiting))
            bodies = self._waiting.pop(owner)
            bodies.popleft().set()
            if bodies:
                self._waiting[owner] = bodies
