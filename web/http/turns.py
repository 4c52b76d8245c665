"""Large bodies go on in turns, so that the event loop serves other requests in between."""

from weakref import WeakValueDictionary

import gevent
from gevent.lock import Semaphore

AT_ONCE, AT_ONCE_PER_OWNER = 4, 2
# gevent.sleep(0) would come back before the event loop looks for requests that have arrived.
NEXT_POLL_S = 1e-6


class Turns:
    """A few bodies go on each time that the event loop polls for I/O.

    The addresses take turns, however many bodies each one sends.
    """

    def __init__(self) -> None:
        self._all = Semaphore(AT_ONCE)
        self._own: WeakValueDictionary[str, Semaphore] = WeakValueDictionary()

    def wait(self, owner: str = "") -> None:
        """Return once it is the turn of a body of `owner`, an address; "" stands for many (a proxy)."""
        own = self._own.setdefault(owner, Semaphore(AT_ONCE_PER_OWNER if owner else AT_ONCE))
        with own, self._all:
            gevent.sleep(NEXT_POLL_S)
