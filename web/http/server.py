"""Accepts the connections of gunicorn's gevent worker."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from gevent.server import StreamServer

from telemetry import metrics

TOO_OFTEN = metrics.REFUSALS.labels("arrivals")


class Server(StreamServer):  # type: ignore[misc]
    """Handles the connections that `admits` accepts by their address, and sends `refusal` to the others.

    gunicorn calls it with the arguments from `listener` on, and expects it to have `pool`.
    """

    # Per turn of the event loop: thousands of connections at once must not hold up the requests that are served.
    max_accept = 1

    def __init__(
        self, handle: Callable[..., None], admits: Callable[[Any], bool], refusal: bytes, listener: Any, *,
        spawn: Any, **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(listener, partial(handle, listener), spawn=spawn)
        self._admits, self._refusal = admits, refusal

    def do_handle(self, client: Any, address: Any) -> None:
        if self._admits(address):
            super().do_handle(client, address)
            return
        TOO_OFTEN.inc()
        # A refusal gets no greenlet, because it must cost little. The client may see a reset instead.
        with contextlib.closing(client), contextlib.suppress(OSError):
            client.setblocking(False)
            client.send(self._refusal)
