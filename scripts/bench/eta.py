"""Leg `eta`: compares the ETA of each job at its submission with the time that the job took.

Each scenario runs on a stack that has already processed a burst. The error of a job is relative to
its actual time, or to one second if that is longer.
"""

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from figures import Row, percentile
from stack import Stack

CLIENTS, WARM_UP, PAGE = 8, 300, 200
JOIN_AFTER_S, KILL_AFTER_S = 4, 13


@dataclass(frozen=True)
class Scenario:
    """`load`: the rate of submissions, relative to the rate at which the warm-up burst was processed; 0: as fast
    as possible. `large_every`: n, if every n-th photo is the large one. `joins`: a second worker joins and is later
    killed.
    """

    name: str
    jobs: int
    load: float = 0.0
    large_every: int = 0
    joins: bool = False


BURST = Scenario("burst", 1200)
MIXED = Scenario("burst, every 8th photo 12 megapixels", 400, large_every=8)
GROUPS: tuple[tuple[int, tuple[Scenario, ...]], ...] = (
    (1, (BURST, MIXED, Scenario("steady, load 0.5", 500, 0.5), Scenario("steady, load 1.3", 1000, 1.3))),
    (2, (BURST, MIXED, Scenario("steady, load 0.8", 800, 0.8))),
    (1, (Scenario("burst, a worker joins and is killed", 1800, joins=True),)),
)


@dataclass(frozen=True)
class Estimate:
    """One job's ETA at its submission, the range of the ETA, and the time that the job took, in seconds."""

    eta: float
    low: float
    high: float
    actual: float

    @property
    def error(self) -> float:
        return abs(self.eta - self.actual) / max(1.0, self.actual)

    @property
    def inside(self) -> bool:
        return self.low <= self.actual <= self.high


def figures(estimates: Sequence[Estimate]) -> dict[str, float]:
    if not estimates:
        return {"submissions": 0}
    errors = [one.error for one in estimates]
    return {
        "submissions": len(estimates),
        "error_share.p50": percentile(errors, 0.5),
        "error_share.p90": percentile(errors, 0.9),
        "share_within_range": statistics.fmean(one.inside for one in estimates),
        "longest_wait_s": max(one.actual for one in estimates),
    }


def submit(stack: Stack, photos: Sequence[bytes], per_s: float = 0.0) -> list[dict[str, Any]]:
    """Submit the photos on CLIENTS connections. Returns the job documents at submission."""
    started = time.perf_counter()

    def submit_some(number: int) -> list[dict[str, Any]]:
        connection, accepted = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=70), []
        for i in range(number, len(photos), CLIENTS):
            if per_s:
                time.sleep(max(0.0, started + i / per_s - time.perf_counter()))
            connection.request("POST", "/v1/jobs", photos[i], {"Content-Type": "image/jpeg"})
            accepted.append(json.loads(connection.getresponse().read()))
        return accepted

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [job for part in pool.map(submit_some, range(CLIENTS)) for job in part]


def wait(stack: Stack) -> None:
    """Wait until no job waits or runs. Polls rarely, because requests use the same cores."""
    while any(lane["pending"] or lane["running"] for lane in stack.queue()["lanes"].values()):
        time.sleep(0.5)


def estimates(stack: Stack, jobs: Sequence[dict[str, Any]]) -> Iterator[Estimate]:
    """Compare the ended jobs with their documents at submission. A job that did not wait has no ETA."""
    for start in range(0, len(jobs), PAGE):
        page = {job["id"]: job["queue"] for job in jobs[start : start + PAGE]}
        answer = stack.http.get("/v1/jobs", params={"ids": ",".join(page)}).json()
        for job in answer["data"]:
            queue, actual = page[job["id"]], job["timings_ms"]["total"] / 1000
            if queue and queue["eta_s"] is not None:
                yield Estimate(queue["eta_s"], queue["eta_low_s"], queue["eta_high_s"], actual)


@contextmanager
def second_worker(stack: Stack) -> Iterator[None]:
    """Start a second worker after a while, and kill it later."""

    def come_and_go() -> None:
        if ended.wait(JOIN_AFTER_S):
            return
        second = stack.run_line("worker", stack.var / "second.log")
        ended.wait(KILL_AFTER_S - JOIN_AFTER_S)
        second.kill()
        second.wait()

    ended = Event()
    thread = Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(stack: Stack, scenario: Scenario, photos: Sequence[bytes], large: bytes, capacity: float) -> list[Estimate]:
    """`photos`: sent in turn; `large`: replaces every `large_every`-th photo; `capacity`: images per second."""
    contents = [
        large if scenario.large_every and i % scenario.large_every == 0 else photos[i % len(photos)]
        for i in range(scenario.jobs)
    ]
    with second_worker(stack) if scenario.joins else nullcontext():
        jobs = submit(stack, contents, scenario.load * capacity)
        wait(stack)
    return list(estimates(stack, jobs))


def warm_up(stack: Stack, photos: Sequence[bytes]) -> float:
    """Make the workers load their engines and measure a first pace. Returns images per second."""
    started = time.perf_counter()
    submit(stack, [photos[i % len(photos)] for i in range(WARM_UP)])
    wait(stack)
    return WARM_UP / (time.perf_counter() - started)


def rows(photos: Sequence[bytes], large: bytes, shrink: int) -> Iterator[Row]:
    """`shrink`: divides the numbers of submissions."""
    for workers, scenarios in GROUPS:
        with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), workers) as stack:
            capacity = warm_up(stack, photos)
            for scenario in scenarios:
                smaller = replace(scenario, jobs=scenario.jobs // shrink)
                found = run(stack, smaller, photos, large, capacity)
                yield Row("eta", f"{workers} worker(s), {scenario.name}", figures(found))
