"""Measures what log lines and traces cost: the same photos through three stacks that take turns."""

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import load
from accounting import Meter, families
from collector import collector
from photos import photos
from running import running
from stack import Stack

CLIENTS = 16
QUIET, OFF, ON = "warnings only", "log lines", "log lines and traces"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300, help="per turn")
    parser.add_argument("--turns", type=int, default=6, help="of each stack")
    asked = parser.parse_args()
    with ExitStack() as held:
        receiver = held.enter_context(collector())
        stacks = {
            QUIET: held.enter_context(running(1, LOG_LEVEL="WARNING")),
            OFF: held.enter_context(running(1)),
            ON: held.enter_context(running(1, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)),
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in stacks}
        for turn in range(asked.turns):
            order = list(stacks)[turn % 3 :] + list(stacks)[: turn % 3]
            for name in order:
                measured[name].append(one_turn(stacks[name], asked.photos))
        print(f"{len(receiver.spans)} spans received")
    for name, rows in measured.items():
        against = [(mine[0] / other[0], mine[1] / other[1]) for mine, other in zip(rows, measured[OFF], strict=True)]
        print(f"{name}: {row(rows)}; of {OFF!r}: {row(against)}")


def one_turn(stack: Stack, count: int) -> tuple[float, float]:
    """CPU milliseconds per image of web server and workers, and seconds of wall time."""
    meter, started = Meter(families(stack)), time.perf_counter()
    load.Load(stack.port, photos(640, 480), CLIENTS, count).closed_loop(load.two_requests)
    seconds = time.perf_counter() - started
    figures = meter.figures(count)
    return figures["cpu_ms.web"] + figures["cpu_ms.workers"], seconds


def row(pairs: list[tuple[float, float]]) -> str:
    """Medians, with the range."""
    cpu, wall = ([pair[i] for pair in pairs] for i in (0, 1))
    return " | ".join(f"{statistics.median(one):.3f} ({min(one):.3f} to {max(one):.3f})" for one in (cpu, wall))


if __name__ == "__main__":
    main()
