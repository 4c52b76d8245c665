"""The memory of a worker's threads: the order of reservations, and the reservation for an encode."""

import multiprocessing
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import examined
import numpy as np
import pytest
import services
from specs import spec

from model.segmenter import Segmenter
from storage.job import Job, Status
from worker.pipeline.memory import GivenUp, Memory
from worker.pipeline.micro_batch import Item
from worker.pipeline.storing import BYTES_PER_PIXEL, encode_result

PATIENCE_S = 60
SIDE = 5000
MIB = 1024 * 1024


class Room:
    """Threads that hold a reservation until a test releases it."""

    def __init__(self, most_bytes: int) -> None:
        self.memory, self.pool = Memory(most_bytes), ThreadPoolExecutor(8)
        self.inside: list[str] = []
        self.releases: dict[str, threading.Event] = {}
        self.given_up: set[str] = set()

    def ask(self, name: str, cost: int) -> "Future[None]":
        release = self.releases[name] = threading.Event()
        place = len(self.memory._queue)

        def hold() -> None:
            with self.memory.reserved(cost, lambda: name in self.given_up):
                self.inside.append(name)
                assert release.wait(PATIENCE_S)
                self.inside.remove(name)

        asked = self.pool.submit(hold)
        services.wait_until(lambda: name in self.inside or len(self.memory._queue) > place or asked.done(), name)
        return asked

    def end(self, name: str, then: list[str]) -> None:
        self.releases[name].set()
        services.wait_until(lambda: sorted(self.inside) == then, f"{then} after {name}")


@pytest.fixture
def room() -> Room:
    return Room(100)


def test_reservations_stay_within_the_memory_and_in_order(room: Room) -> None:
    for name, cost in (("a", 60), ("b", 60), ("c", 10), ("d", 500)):
        room.ask(name, cost)
    assert room.inside == ["a"]  # c would fit, but it came after b
    room.end("a", ["b", "c"])
    room.end("b", ["c"])
    room.end("c", ["d"])  # larger than the whole memory: runs alone
    room.end("d", [])
    assert room.memory._free_bytes == 100


def test_a_cancelled_reservation_leaves_the_queue(room: Room) -> None:
    room.ask("a", 100)
    given_up, behind = room.ask("b", 100), room.ask("c", 1)
    room.given_up.add("b")
    room.memory.look_again()
    assert isinstance(given_up.exception(PATIENCE_S), GivenUp)
    room.end("a", ["c"])
    room.end("c", [])
    assert behind.exception(PATIENCE_S) is None
    assert room.memory._free_bytes == 100


def test_a_failure_releases_its_reservation(room: Room) -> None:
    with pytest.raises(ZeroDivisionError), room.memory.reserved(100):
        1 / 0  # noqa: B018
    assert room.memory._free_bytes == 100


def encoding_peak_mb() -> int:
    segmenter = Segmenter(services.SHIPPED_MODEL)
    logits = np.random.default_rng(0).normal(size=(128, 128, 3)).astype(np.float32)

    def encode(side: int) -> None:
        job = Job(spec(width=side, height=side), Status.RUNNING, 1)
        encode_result(Item(job, logits=logits), segmenter)

    encode(10)
    Path("/proc/self/clear_refs").write_text("5")
    before = examined.peak_mb()
    encode(SIDE)
    return examined.peak_mb() - before


@pytest.mark.alone
def test_encoding_takes_no_more_than_is_reserved_for_it() -> None:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        assert pool.submit(encoding_peak_mb).result(PATIENCE_S) < SIDE * SIDE * BYTES_PER_PIXEL / MIB
