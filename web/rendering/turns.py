"""Turns at rendering: a memory budget per process, and callers take turns.

The greenlets of one thread use it without locks; the rendering itself runs in other threads.
"""

import errno
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gevent.event import Event

from storage.problems import Problem

AT_ONCE = 2  # a process has no more cores to use
MOST_RUNNING_PER_CALLER = AT_ONCE - 1
MOST_WAITING, MOST_WAITING_PER_CALLER = 256, 32
LOOK_S = 1.0  # the interval at which a waiting request checks whether its client is still connected
LONGEST_PAUSE_S = 60
_WEIGHT = 0.2  # of the latest rendering in the moving average


class ClientLeft(BrokenPipeError):
    """The client closed its connection before its turn came."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "the client disconnected before its turn")


@dataclass(eq=False)
class _Waiter:
    cost: int  # bytes
    left: Callable[[], bool]
    admitted: Event = field(default_factory=Event)


class Turns:
    """At most AT_ONCE renderings run, in at most `most_bytes` of memory.

    One caller never runs all AT_ONCE of them, so a caller with expensive renderings leaves room for
    others. The next turn goes to the caller whose last turn was longest ago.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._free_bytes = most_bytes, most_bytes
        self._waiting: dict[str, deque[_Waiter]] = {}  # by caller
        self._running: Counter[str] = Counter()
        self._turns_taken = 0
        self._last_turn: dict[str, int] = {}  # only callers that wait or run
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    @contextmanager
    def turn(self, caller: str, cost: int, left: Callable[[], bool], refusable: bool = True) -> Iterator[None]:
        """Wait until `cost` bytes are free and it is the caller's turn.

        Raises ClientLeft once `left` returns True. Raises Problem if too many wait and the turn is
        `refusable`.
        """
        if refusable:
            self._check(caller)
        waiter = _Waiter(min(cost, self._most_bytes), left)
        self._waiting.setdefault(caller, deque()).append(waiter)
        self._admit()
        try:
            self._wait(waiter)
        except BaseException:
            self._forget(caller, waiter)
            raise
        started = time.monotonic()
        try:
            yield
        finally:
            self._mean_s += _WEIGHT * (time.monotonic() - started - self._mean_s)
            self._release(caller, waiter)

    def _check(self, caller: str) -> None:
        own = len(self._waiting.get(caller, ()))
        if own >= MOST_WAITING_PER_CALLER:
            raise Problem(
                "rate_limited",
                f"{own} of your renderings are already waiting.",
                self._pause_s(own, MOST_RUNNING_PER_CALLER),
            )
        if (others := self.waiting) >= MOST_WAITING:
            raise Problem("unavailable", f"{others} renderings are already waiting.", self._pause_s(others, AT_ONCE))

    def _pause_s(self, waiting: int, at_once: int) -> int:
        return max(1, min(LONGEST_PAUSE_S, math.ceil(waiting * self._mean_s / at_once)))

    @staticmethod
    def _wait(waiter: _Waiter) -> None:
        while not waiter.admitted.wait(LOOK_S):
            if waiter.left():
                raise ClientLeft

    def _admit(self) -> None:
        """Admit the next waiters while there is room.

        If the next one does not fit, no other overtakes it: otherwise a large one would wait forever.
        """
        while self._running.total() < AT_ONCE:
            ready = [one for one in self._waiting if self._running[one] < MOST_RUNNING_PER_CALLER]
            if not ready:
                return
            caller = min(ready, key=lambda one: self._last_turn.get(one, 0))
            waiter = self._waiting[caller][0]
            if waiter.left():
                self._drop(caller, waiter)
                continue  # its own greenlet notices it too and raises ClientLeft
            if waiter.cost > self._free_bytes:
                return
            self._drop(caller, waiter)
            self._free_bytes -= waiter.cost
            self._running[caller] += 1
            self._turns_taken += 1
            self._last_turn[caller] = self._turns_taken
            waiter.admitted.set()

    def _drop(self, caller: str, waiter: _Waiter) -> None:
        """Remove the waiter from its caller's queue."""
        self._waiting[caller].remove(waiter)
        if not self._waiting[caller]:
            del self._waiting[caller]

    def _forget(self, caller: str, waiter: _Waiter) -> None:
        if waiter.admitted.is_set():
            self._release(caller, waiter)
        elif waiter in self._waiting.get(caller, ()):
            self._drop(caller, waiter)
            self._admit()

    def _release(self, caller: str, waiter: _Waiter) -> None:
        self._free_bytes += waiter.cost
        self._running[caller] -= 1
        self._admit()
        if not self._running[caller]:
            del self._running[caller]
            if caller not in self._waiting:
                self._last_turn.pop(caller, None)
