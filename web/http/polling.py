"""`select.poll` for a process that gevent has patched.

gevent's `poll` passes through the event loop even if it may not wait. redis and urllib3 poll each
connection before they use it, so every call would first let all other requests run.
"""

import select
from typing import Any

from gevent import monkey
from gevent.select import poll as waiting_poll

system_poll = monkey.get_original("select", "poll")


class Poll(waiting_poll):  # type: ignore[misc]
    """Asks the system directly if it may not wait."""

    def __init__(self) -> None:
        super().__init__()
        self._system = system_poll()

    def register(self, fd: Any, eventmask: int = select.POLLIN | select.POLLOUT) -> None:
        super().register(fd, eventmask)
        self._system.register(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        super().unregister(fd)
        self._system.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """`timeout`: milliseconds; None or a negative number means no limit."""
        found: list[tuple[int, int]] = self._system.poll(0) if timeout == 0 else super().poll(timeout)
        return found


def poll_without_switching() -> None:
    select.poll = Poll  # type: ignore[misc]
