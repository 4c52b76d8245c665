"""The order in which large bodies go on, in greenlets of one thread as in the server."""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from web.http.body_turns import BodyTurns

MANY, PATIENCE_S = 60, 30


class Bodies:
    """Bodies that never end. `steps` lists their owners in the order in which they went on."""

    def __init__(self) -> None:
        self.turns, self.steps = BodyTurns(), list[str]()
        self._greenlets: list[gevent.Greenlet] = []

    def send(self, owner: str, count: int) -> None:
        self._greenlets += [gevent.spawn(self._go_on, owner) for _ in range(count)]

    def _go_on(self, owner: str) -> None:
        while True:
            self.turns.wait(owner)
            self.steps.append(owner)

    def wait_for(self, steps: int) -> None:
        with gevent.Timeout(PATIENCE_S):
            while len(self.steps) < steps:
                gevent.sleep(0.001)

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
        bodies.send("10.0.0.1", MANY)
        bodies.wait_for(MANY)
        bodies.steps.clear()
        theirs.send(b"x")
        _, steps = served.get(timeout=PATIENCE_S)
    assert steps <= 5


def test_an_address_with_many_bodies_goes_on_as_often_as_those_with_few(bodies: Bodies) -> None:
    for owner, count in (("many", MANY), ("few", 2), ("one", 1)):
        bodies.send(owner, count)
    bodies.wait_for(3 * MANY)
    counts = Counter(bodies.steps[: 3 * MANY])
    assert set(counts) == {"many", "few", "one"}
    assert max(counts.values()) - min(counts.values()) <= 2


def test_the_bodies_of_an_address_go_on_in_order(bodies: Bodies) -> None:
    numbers: list[int] = []

    def go_on(number: int) -> None:
        bodies.turns.wait("10.0.0.1")
        numbers.append(number)

    gevent.joinall([gevent.spawn(go_on, number) for number in range(MANY)], timeout=PATIENCE_S)
    assert numbers == list(range(MANY))
    assert not bodies.turns._waiting
