"""Detect that a client disconnected while its request waits."""

import select
from collections.abc import Callable, Mapping
from typing import Any

from gevent import monkey

# gevent's poll supports neither POLLRDHUP nor a check that does not yield to other greenlets.
_poll = monkey.get_original("select", "poll")
_CLOSED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def has_left(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return a function that checks whether the client has closed the request's socket.

    Without a socket (in tests) it always returns False.
    """
    client = environ.get("gunicorn.socket")
    if client is None:
        return lambda: False

    def left() -> bool:
        if client.fileno() < 0:
            return True
        poll = _poll()
        poll.register(client.fileno(), _CLOSED)
        return bool(poll.poll(0))

    return left
