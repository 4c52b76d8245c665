"""The order of renderings, in greenlets of one thread as in the server."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import gevent
import pytest
from gevent.event import Event

from storage.problems import Problem
from web.rendering import turns as module
from web.rendering.presence import has_left
from web.rendering.turns import MOST_RUNNING_PER_CALLER, MOST_WAITING_PER_CALLER, ClientLeft, Turns

PATIENCE_S = 30


class Room:
    """Renderings that run until a test ends them."""

    def __init__(self, most_bytes: int = 100) -> None:
        self.turns, self.running, self.ended = Turns(most_bytes), list[str](), dict[str, Event]()

    def ask(self, name: str, cost: int = 1, left: Callable[[], bool] = lambda: False) -> gevent.Greenlet:
        """`name`: the caller's letter and a number."""
        end = self.ended[name] = Event()

        def render() -> None:
            with self.turns.turn(name[0], cost, left):
                self.running.append(name)
                assert end.wait(PATIENCE_S)
                self.running.remove(name)

        greenlet = gevent.spawn(render)
        gevent.sleep(0)
        return greenlet

    def end(self, name: str) -> None:
        self.ended[name].set()
        gevent.sleep(0.01)


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    while made.running:
        made.end(made.running[0])
    assert (made.turns.waiting, made.turns._free_bytes, made.turns._running.total()) == (0, 100, 0)


def test_a_caller_with_many_renderings_leaves_a_place(room: Room) -> None:
    for number in range(20):
        room.ask(f"a{number}")
    assert room.running == ["a0"]  # a place is left for another caller
    room.ask("b0")
    room.ask("b1")
    assert room.running == ["a0", "b0"]
    room.end("a0")
    assert room.running == ["b0", "a1"]
    room.end("b0")
    assert room.running == ["a1", "b1"]
    room.ask("c0")
    room.end("b1")
    assert room.running == ["a1", "c0"]


def test_callers_take_turns(room: Room) -> None:
    for name in ("a0", "a1", "a2", "a3", "b0", "b1", "c0", "c1"):
        room.ask(name)
    begun = list(room.running)
    while room.running:
        room.end(room.running[0])
        begun += [name for name in room.running if name not in begun]
    assert begun == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "a3"]


def test_a_large_rendering_waits_for_memory_and_is_not_overtaken(room: Room) -> None:
    room.ask("a0", 60)
    room.ask("b0", 60)
    room.ask("c0", 10)
    assert room.running == ["a0"]
    room.end("a0")
    assert room.running == ["b0", "c0"]


def test_a_rendering_larger_than_the_memory_runs_alone(room: Room) -> None:
    room.ask("a0", 1000)
    room.ask("b0", 1)
    assert room.running == ["a0"]
    room.end("a0")
    assert room.running == ["b0"]


def test_a_disconnected_caller_is_skipped(room: Room) -> None:
    gone: list[bool] = []
    room.ask("a0")
    room.ask("x0")
    left = [room.ask(f"b{number}", left=lambda: bool(gone)) for number in range(5)]
    room.ask("c0")
    gone.append(True)
    room.end("a0")
    assert room.running == ["x0", "c0"]
    gevent.joinall(left, timeout=PATIENCE_S)
    assert all(isinstance(one.exception, ClientLeft) for one in left)


def test_a_disconnected_caller_leaves_the_queue_at_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    gone: list[bool] = []
    room.ask("a0")
    room.ask("x0")
    waiting = room.ask("b0", left=lambda: bool(gone))
    gone.append(True)
    waiting.join(PATIENCE_S)
    assert room.turns.waiting == 0


def test_a_failure_releases_its_reservation(room: Room) -> None:
    with pytest.raises(ZeroDivisionError), room.turns.turn("a", 100, lambda: False):
        1 / 0  # noqa: B018
    room.ask("b0", 100)
    assert room.running == ["b0"]


def test_a_queue_that_is_too_long_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", MOST_WAITING_PER_CALLER + 2)
    room.ask("x0")
    for number in range(MOST_RUNNING_PER_CALLER + MOST_WAITING_PER_CALLER):
        room.ask(f"a{number}")
    for caller, code in (("a", "rate_limited"), ("b", ""), ("c", ""), ("d", "unavailable")):
        if not code:
            room.ask(f"{caller}0")
            continue
        with pytest.raises(Problem) as caught, room.turns.turn(caller, 1, lambda: False):
            pass
        assert caught.value.code == code
        assert caught.value.retry_after_s
    room.ask("a999")  # refused too, and leaves no entry behind
    while room.running:
        room.end(room.running[0])


def test_a_closed_socket_is_detected() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as stack:
        stack.enter_context(server)
        client = socket.create_connection(server.getsockname())
        accepted = stack.enter_context(server.accept()[0])
        left = has_left({"gunicorn.socket": accepted})
        client.sendall(b"the next request, before the answer to this one")
        assert not left()
        client.close()
        assert left()
        accepted.close()
        assert left()
    assert not has_left({})()
