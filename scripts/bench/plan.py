"""What `make bench` runs: which legs, at which sizes, with how many images."""

from collections.abc import Iterator
from dataclasses import dataclass

import closed
import eta
import inputs_cost
import load
import metrics_cost
import queue_cost
import rebuild
import records
from bare import bare
from burst import burst
from figures import Row
from folder import folder
from photos import SIZES, photos
from running import running
from stack import Stack

CLIENTS = (1, 16, 64)
LEGS = ("bare", "closed", "burst", "folder", "eta", "records", "metrics", "inputs", "queue", "rebuild")
CLOSED_JOBS = {"640": {1: 100, 16: 800, 64: 1600}, "1920": {1: 60, 16: 400, 64: 800}, "4000": {1: 20, 16: 96, 64: 192}}
BARE = {"640": 320, "1920": 160, "4000": 64}
BURSTS, FOLDER, HOT_PATH = (2_000, 10_000), 500, 500


@dataclass(frozen=True)
class Plan:
    """What to run. `shrink`: divides the counts."""

    legs: tuple[str, ...]
    sizes: tuple[str, ...]
    clients: tuple[int, ...]
    ways: tuple[str, ...]
    workers: int
    shrink: int

    def count(self, full: int, at_least: int = 16) -> int:
        return max(at_least, full // self.shrink // 16 * 16)

    def rows(self) -> Iterator[Row]:
        if "bare" in self.legs:
            for size in self.sizes:
                yield bare(name(size), photos(*SIZES[size]), self.count(BARE[size]))
        if {"closed", "burst", "folder"}.intersection(self.legs):
            yield from self._on_stacks()
        if "eta" in self.legs:
            yield from eta.rows(photos(*SIZES["640"]), photos(*SIZES["4000"])[0], self.shrink)
        if "records" in self.legs:
            yield from self._records()
        if "metrics" in self.legs:
            yield from metrics_cost.rows()
        if "inputs" in self.legs:
            yield from inputs_cost.rows()
        if "queue" in self.legs:
            yield from queue_cost.rows()
        if "rebuild" in self.legs:
            yield rebuild.rebuild()

    def _on_stacks(self) -> Iterator[Row]:
        small = photos(*SIZES["640"])
        with running(self.workers) as stack:
            if "closed" in self.legs:
                yield from self._closed(stack)
            if "burst" in self.legs:
                for jobs in BURSTS:
                    yield burst(stack, name("640"), small, self.count(jobs))
            if "folder" in self.legs:
                yield folder(stack, name("640"), small, self.count(FOLDER))

    def _closed(self, stack: Stack) -> Iterator[Row]:
        ways = self.ways
        if "one" in ways and not closed.answers_with_masks(stack, photos(*SIZES["640"])[0]):
            print("The server does not return the mask in response to a POST: only the way `two` is measured")
            ways = ("two",)
        for size in self.sizes:
            for clients in self.clients:
                jobs = max(clients, self.count(CLOSED_JOBS[size].get(clients, 10 * clients)))
                for way in ways:
                    yield closed.closed(stack, name(size), photos(*SIZES[size]), clients, jobs, way=way)

    def _records(self) -> Iterator[Row]:
        jobs, small = self.count(HOT_PATH), photos(*SIZES["640"])

        def work(port: int) -> int:
            load.Load(port, small, 8, jobs).closed_loop(load.two_requests)
            return jobs

        with running(1) as stack:
            yield records.hot_path(stack, lambda: work(stack.port))
        yield records.own_costs()
        yield from records.lists()


def name(size: str) -> str:
    width, height = SIZES[size]
    return f"{width}x{height}"
