"""Compares the cost of a job with the cost of its bare work, in one run: `make bench`.

Wall times vary on shared machines: compare the ratios and the CPU milliseconds.
"""

import argparse
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from figures import Row, compare, load, save
from load import WAYS
from photos import SIZES
from plan import CLIENTS, LEGS, Plan
from plot import plot
from services import ROOT


def main() -> None:
    logging.basicConfig(level=logging.ERROR)  # otherwise each of the thousands of adopted jobs logs a line
    asked = arguments()
    if asked.compare:
        runs = {path.stem: load(path) for path in asked.compare}
        print("\n".join(compare(*runs.values())))
        out = asked.compare[-1]
    else:
        out = asked.out or ROOT / "var" / "bench" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
        runs = {out.stem: measure(asked, out)}
    if asked.plot:
        plot(out.with_suffix(".png"), runs)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=listed(LEGS), default=LEGS, help=",".join(LEGS))
    parser.add_argument("--sizes", type=listed(SIZES), default=tuple(SIZES), help=",".join(SIZES))
    parser.add_argument("--clients", type=lambda text: tuple(map(int, text.split(","))), default=CLIENTS)
    parser.add_argument("--ways", type=listed(WAYS), default=tuple(WAYS), help="requests per image: two,one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--quick", action="store_const", const=8, default=1, dest="shrink", help="an eighth of the images"
    )
    parser.add_argument("--out", type=Path, help="the JSON file, default var/bench/DATE.json")
    parser.add_argument("--plot", action="store_true", help="draw the CPU times beside the JSON file")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar="JSON", help="measure nothing; print the ratios of two runs"
    )
    return parser.parse_args()


def listed(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return tuple(text.split(","))

    return parse


def measure(asked: argparse.Namespace, out: Path) -> list[Row]:
    """Print and save each row as soon as it is measured."""
    plan = Plan(asked.legs, asked.sizes, asked.clients, asked.ways, asked.workers, asked.shrink)
    about, rows = {**machine(), "arguments": sys.argv[1:]}, []
    print(f"load before: {about['load']}; {about['cpus']} cores", flush=True)
    for row in plan.rows():
        rows.append(row)
        print(row, flush=True)
        save(out, about, rows)
    for row in headlines(rows, max(asked.clients)):
        rows.append(row)
        print(row)
    save(out, about, rows)
    print(f"saved: {out}")
    return rows


def machine() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "commit": commit.stdout.strip(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def headlines(rows: list[Row], clients: int) -> list[Row]:
    """For each closed loop with this many clients, divide its CPU time by that of the bare work at the same size.

    The CPU time is that of the whole system without the clients.
    """
    least = {row.name: row.figures["cpu_ms.all"] for row in rows if row.leg == "bare"}
    pairs = [
        (row, least.get(row.name.partition(",")[0]))
        for row in rows
        if row.leg == "closed" and f" {clients} clients" in row.name
    ]
    return [
        Row("headline", row.name, {"system_to_bare": row.figures["cpu_ms.all"] / bare}) for row, bare in pairs if bare
    ]


if __name__ == "__main__":
    main()
