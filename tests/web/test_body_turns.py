"""The order in which large bodies go on, in greenlets of one thread as in the server."""

import contextlib
import socket
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from web.http.turns import AT_ONCE, AT_ONCE_PER_OWNER, Turns

MANY, PATIENCE_S = 60, 30


class Bodies:
    """Bodies that never end: `steps` lists their owners in the order in which they went on."""

    def __init__(self) -> None:
        self.turns, self.steps = Turns(), list[str]()
        self._greenlets: list[gevent.Greenlet] = []

    def send(self, owner: str, count: int) -> None:
        self._greenlets += [gevent.spawn(self._go_on, owner) for _ in range(count)]

    def _go_on(self, owner: str) -> None:
        while True:
            self.turns.wait(owner)
            self.steps.append(owner)

    def wait_for(self, steps: int) -> None:
        self.steps.clear()
        with gevent.Timeout(PATIENCE_S):
            while len(self.steps) < steps:
                self.turns.wait("observer")

    def end(self) -> None:
        gevent.killall(self._greenlets)


@pytest.fixture
def bodies() -> Iterator[Bodies]:
    made = Bodies()
    yield made
    made.end()


def test_a_request_is_served_after_a_few_steps_of_many_bodies(bodies: Bodies) -> None:
    """gevent.sleep(0) lets all bodies go on, over and over, before the event loop looks for a request."""
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs), contextlib.closing(gevent.socket.socket(fileno=ours.detach())) as request:
        served = gevent.spawn(lambda: (request.recv(1), len(bodies.steps)))
        for number in range(MANY):
            bodies.send(f"10.0.0.{number}", 1)
        bodies.wait_for(MANY)
        bodies.steps.clear()
        theirs.send(b"x")
        _, steps = served.get(timeout=PATIENCE_S)
    assert steps <= 2 * AT_ONCE


def test_an_address_with_many_bodies_takes_turns_with_one_that_has_few(bodies: Bodies) -> None:
    bodies.send("many", MANY)
    bodies.send("few", 1)
    bodies.wait_for(MANY)
    assert bodies.steps.count("few") >= MANY / (AT_ONCE_PER_OWNER + 2)


@pytest.mark.parametrize(("owner", "at_once"), [("10.0.0.1", AT_ONCE_PER_OWNER), ("", AT_ONCE)])
def test_bodies_through_a_proxy_are_not_those_of_one_address(bodies: Bodies, owner: str, at_once: int) -> None:
    bodies.send(owner, MANY)
    gevent.sleep(0)  # each has come as far as it can before the next poll
    assert AT_ONCE - bodies.turns._all.counter == at_once


def test_an_address_without_bodies_is_forgotten(bodies: Bodies) -> None:
    bodies.turns.wait("10.0.0.1")
    assert not bodies.turns._own
