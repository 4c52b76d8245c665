"""Measures whether memory grows with the number of jobs, and what an idle stack costs: `make soak`.

Exits with 1 if a job fails or memory grows: if a kind of process gains at least 1 MB per 10,000 jobs, and the 95 %
interval of this slope excludes 0.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import load
from accounting import Families, cpu_ms, families, memory_mb
from figures import Row, Slope, group, save, slope
from photos import photos
from running import running
from services import ROOT
from stack import Stack

PER, MOST_MB = 10_000, 1.0
SETTLE_S, CLEAN_S = 10, 15


@dataclass
class Samples:
    """Memory by kind of process against the number of jobs done."""

    done: list[float] = field(default_factory=list)
    megabytes: dict[str, list[float]] = field(default_factory=dict)

    def add(self, done: int, megabytes: Mapping[str, float]) -> None:
        self.done.append(done / PER)
        for name, value in megabytes.items():
            self.megabytes.setdefault(name, []).append(value)

    def slopes(self) -> dict[str, Slope]:
        """Kind of process → MB per PER jobs."""
        return {name: slope(self.done, values) for name, values in self.megabytes.items()}


def main() -> int:
    asked = arguments()
    # Ended jobs are erased early, so that the stack reaches a steady state: otherwise its data grows with the jobs.
    with running(asked.workers, RETENTION_S=asked.retention, CLEAN_S=CLEAN_S) as stack:
        idle = idle_share(families(stack), asked.idle)
        print(idle, flush=True)
        samples, seen = soak(stack, asked)
    slopes = samples.slopes()
    for name, found in slopes.items():
        print(f"{name:<12} MB per {PER} jobs: {found}{'  GROWS' if found.reaches(MOST_MB) else ''}")
    values = {name: found.value for name, found in slopes.items()}
    margins = {name: found.margin for name, found in slopes.items()}
    figures = {**seen.figures(), **group(f"mb_per_{PER}", values), **group("margin_mb", margins)}
    row = Row("soak", f"{len(seen.jobs_s)} jobs, {asked.clients} clients", figures)
    print(row)
    save(asked.out, {"arguments": sys.argv[1:]}, [idle, row])
    return int(any(found.reaches(MOST_MB) for found in slopes.values()) or bool(seen.errors))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--retention", type=int, default=120, help="seconds until an ended job is erased")
    parser.add_argument("--sample", type=float, default=5, help="seconds between two samples")
    parser.add_argument("--idle", type=float, default=60, help="seconds for which the idle stack is measured")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "var" / "bench" / f"soak-{time.strftime('%Y%m%d-%H%M%S')}.json"
    )
    return parser.parse_args()


def idle_share(processes: Families, seconds: float) -> Row:
    """CPU time of a stack without work, in per cent of a core."""
    time.sleep(SETTLE_S)
    before, started = {name: cpu_ms(pids) for name, pids in processes.items()}, time.perf_counter()
    time.sleep(seconds)
    wall_ms = (time.perf_counter() - started) * 1000
    shares = {name: (cpu_ms(pids) - before[name]) / wall_ms * 100 for name, pids in processes.items()}
    return Row("idle", "per cent of a core", group("cpu_percent", {"all": sum(shares.values()), **shares}))


def soak(stack: Stack, asked: argparse.Namespace) -> tuple[Samples, load.Load]:
    """Run a closed loop. Takes samples from the steady state on, in which as many jobs are erased as end."""
    samples, steady = Samples(), time.monotonic() + asked.retention + 2 * CLEAN_S
    seen = load.Load(stack.port, photos(640, 480), asked.clients, asked.jobs, asked.minutes * 60)

    def sample() -> None:
        if time.monotonic() > steady:
            processes = families(stack)
            samples.add(len(seen.jobs_s), {name: memory_mb(pids) for name, pids in processes.items()})

    with every(asked.sample, sample):
        seen.closed_loop(load.two_requests)
    return samples, seen


@contextmanager
def every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
