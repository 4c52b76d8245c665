"""Whether the client of a request still waits for the answer."""

import select
from collections.abc import Callable, Mapping
from typing import Any

from gevent import monkey

# gevent's own knows neither this event nor a look that does not yield to other greenlets.
_poll = monkey.get_original("select", "poll")
_CLOSED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def has_left(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A look at the request's socket: whether the other end has closed it. Without a socket nobody can leave."""
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
