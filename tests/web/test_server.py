"""The order in which the server accepts connections, in greenlets of one thread as in its process."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import gevent.socket
import pytest
from gevent.pool import Pool

from web.http.server import Server

FLOOD, PATIENCE_S = 700, 30


@pytest.fixture
def listener() -> Iterator[gevent.socket.socket]:
    with contextlib.closing(gevent.socket.socket()) as made:
        made.bind(("127.0.0.1", 0))
        made.listen(FLOOD)
        yield made


def test_a_request_is_served_after_a_few_of_many_refused_connections(listener: gevent.socket.socket) -> None:
    """gevent alone accepts a hundred connections before it looks for a request."""
    accepted = list[object]()

    def admits(address: object) -> bool:
        if not accepted:
            theirs.send(b"x")
        accepted.append(address)
        return False

    ours, theirs = socket.socketpair()
    with ExitStack() as sockets:
        for end in (theirs, request := gevent.socket.socket(fileno=ours.detach())):
            sockets.enter_context(contextlib.closing(end))
        for _ in range(FLOOD):
            sockets.enter_context(socket.create_connection(listener.getsockname(), PATIENCE_S))
        served = gevent.spawn(lambda: (request.recv(1), len(accepted)))
        server = Server(lambda *_: None, admits, b"refused", listener, spawn=Pool())
        server.start()
        sockets.callback(server.stop)
        _, before = served.get(timeout=PATIENCE_S)
    assert before <= 5
