"""Turns at checking and storing large photos."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import gevent
from gevent.lock import Semaphore

LARGE_BYTES = 256 * 1024
LONGEST_S = 0.05


class UploadTurns:
    """One large photo per party at a time is checked and stored.

    A request waits for Redis and the object store several times. If a party stored many photos in
    parallel, the event loop would run a step of each of them before it resumes another client's
    request.
    """

    def __init__(self) -> None:
        # A semaphore exists while a turn of its party runs or waits.
        self._parties: WeakValueDictionary[str, Semaphore] = WeakValueDictionary()

    @contextmanager
    def turn(self, party: str, size: int) -> Iterator[None]:
        """Wait for the turn of a photo of `size` bytes; a small one does not wait.

        After LONGEST_S the party's next turn begins as well, so that a slow object store does not
        slow a party down to one photo per response.
        """
        if size < LARGE_BYTES:
            yield
            return
        turns = self._parties.setdefault(party, Semaphore())
        turns.acquire()
        next_turn = gevent.spawn_later(LONGEST_S, turns.release)
        try:
            yield
        finally:
            if not next_turn.ready():
                next_turn.kill(block=False)
                turns.release()
