"""Predicts throughput, waiting times and cost from benchmarks: `make simulate ARGS=var/bench/DATE.json`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import Row, load
from simulation import Costs, Plant, Simulation


def compared(rows: Sequence[Row], workers: int, cores: int) -> Iterator[str]:
    """One line for each measured closed loop: what was measured, and what its own costs predict."""
    yield "| photos, clients | images/s | predicted | p50 ms | predicted | p95 ms | predicted |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        clients = int(row.name.split(", ")[1].split()[0])
        found = Simulation(Costs.of(row), Plant(workers, cores=cores), clients, images=1500).run()
        measured = row.figures
        yield (
            f"| {row.name} | {measured['images_per_s']:.1f} | {found.images_per_s:.1f} "
            f"| {measured['job_ms.p50']:.0f} | {found.p50_ms:.0f} | {measured['job_ms.p95']:.0f} | {found.p95_ms:.0f} |"
        )


def scaled(costs: Costs) -> Iterator[str]:
    """A table for many workers, each process on a core of its own."""
    yield "| workers | web processes | S3 cores | Redis servers | images/s | per worker | p50 ms | saturated first |"
    yield "|---|---|---|---|---|---|---|---|"
    for workers in (10, 100, 1000):
        for plant in (Plant(workers), balanced(costs, workers, shards=1), balanced(costs, workers)):
            found = Simulation(costs, plant, clients=48 * workers, images=120 * workers).run()
            yield (
                f"| {workers} | {plant.webs} | {plant.s3} | {plant.shards} | {found.images_per_s:.0f} "
                f"| {found.images_per_s / workers:.1f} | {found.p50_ms:.0f} "
                f"| {found.saturated} ({found.used[found.saturated]:.0%}) |"
            )


def balanced(costs: Costs, workers: int, shards: int | None = None) -> Plant:
    """A plant whose other processes are at most 70 % busy while all workers are fully busy."""
    per_ms = workers / costs.workers
    needed = {kind: max(1, -int(-per_ms * getattr(costs, kind) // 0.7)) for kind in ("web", "s3", "redis")}
    return Plant(workers, webs=needed["web"], s3=needed["s3"], shards=shards or needed["redis"])


@dataclass(frozen=True)
class Prices:
    """List prices in one currency, and what an image stores. `requests`: of the object store, per image."""

    core_hour: float
    gb_month: float
    million_requests: float
    image_mb: float
    retention_days: float
    requests: float

    def per_million(self, costs: Costs) -> dict[str, float]:
        """The price of a million images: cores 70 % busy, storage until the retention ends, requests."""
        cpu_ms = sum(getattr(costs, kind) for kind in Costs.__dataclass_fields__)
        parts = {
            "cores": cpu_ms * 1e6 / 3.6e6 / 0.7 * self.core_hour,
            "storage": self.image_mb * 1e3 * self.retention_days / 30 * self.gb_month,
            "requests": self.requests * self.million_requests,
        }
        return {**parts, "total": sum(parts.values())}


def main() -> None:
    asked = arguments()
    for run in asked.run:
        rows = [row for row in load(run) if row.leg == "closed"]
        workers = workers_of(run)
        print(f"\n{run.name}, {workers} workers\n")
        print("\n".join(compared(rows, workers, asked.cores)))
    costs = Costs.of(rows[-1])
    if asked.scale:
        print("\n" + "\n".join(scaled(costs)))
    prices = Prices(*(getattr(asked, name) for name in Prices.__dataclass_fields__))
    parts = ", ".join(f"{name} {price:.2f}" for name, price in prices.per_million(costs).items())
    print(f"\nA million images at these prices: {parts}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="files of `make bench` with the leg `closed`")
    parser.add_argument("--cores", type=int, default=2, help="of the machine that was measured")
    parser.add_argument("--scale", action="store_true", help="predict 10, 100 and 1,000 workers from the last row")
    parser.add_argument("--core-hour", type=float, default=0.04)
    parser.add_argument("--gb-month", type=float, default=0.023)
    parser.add_argument("--million-requests", type=float, default=2.7)
    parser.add_argument("--image-mb", type=float, default=0.2, help="the photo and what is stored beside it")
    parser.add_argument("--retention-days", type=float, default=7)
    parser.add_argument("--requests", type=float, default=4, help="of the object store, per image")
    return parser.parse_args()


def workers_of(run: Path) -> int:
    """How many workers that benchmark had. It names them in its arguments, or had one per core."""
    about = json.loads(run.read_text())["about"]
    given = about["arguments"]
    return int(given[given.index("--workers") + 1]) if "--workers" in given else int(about["cpus"])


if __name__ == "__main__":
    main()
