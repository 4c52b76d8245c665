"""The memory that pictures take in all threads of a process."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class GivenUp(Exception):
    """The reservation is not wanted any more."""


class Memory:
    """Reservations within `most_bytes`, first come, first served, so that a large picture gets its turn too."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._free_bytes = most_bytes
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, cost: int, given_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait until `cost` bytes are free, at most all. Raises GivenUp once `given_up` says so (see `look_again`)."""
        cost = min(cost, self.most_bytes)
        self._take(cost, given_up)
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += cost
                self._changed.notify_all()

    def look_again(self) -> None:
        """Those who wait ask whether they have been given up."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, cost: int, given_up: Callable[[], bool]) -> None:
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                self._changed.wait_for(
                    lambda: given_up() or (self._line[0] is place and cost <= self._free_bytes),
                )
                if given_up():
                    raise GivenUp
                self._free_bytes -= cost
            finally:
                self._line.remove(place)
                self._changed.notify_all()
