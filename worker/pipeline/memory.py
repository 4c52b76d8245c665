"""Limits the memory that pictures use in all threads of a process."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class GivenUp(Exception):
    """The reservation was given up while it waited."""


class Memory:
    """Reservations of up to `most_bytes` in total, in order of arrival, so that large pictures do not starve."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._free_bytes = most_bytes
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, cost: int, given_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait until `cost` bytes are free, and hold them during the block. A larger cost than all counts as all.

        Raises GivenUp if `given_up` returns True while it waits; call `look_again` to have it checked.
        """
        cost = min(cost, self.most_bytes)
        self._take(cost, given_up)
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += cost
                self._changed.notify_all()

    def look_again(self) -> None:
        """Make every waiting reservation check its `given_up`."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, cost: int, given_up: Callable[[], bool]) -> None:
        place = object()
        with self._changed:
            self._queue.append(place)
            try:
                self._changed.wait_for(
                    lambda: given_up() or (self._queue[0] is place and cost <= self._free_bytes),
                )
                if given_up():
                    raise GivenUp
                self._free_bytes -= cost
            finally:
                self._queue.remove(place)
                self._changed.notify_all()
