"""Compares Segue with other ways to serve the same work: `make bench-peers`.

Each peer runs the code of `work.py` in an environment of its own, which this command installs. Segue and the peers take
turns: only one of them runs at a time, under the same client. No peer stores anything.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from photos import photos  # noqa: I001 - it adds the path of `services`

import closed
import load
from accounting import Meter
from bench import listed, machine
from contenders import PATH, PEERS, install, serving
from figures import Row, save
from running import running
from services import ROOT

ENGINES = {"litert": "int8", "tensorflow": "TensorFlow"}
SEGUE, WORKERS, WARM_UP = "segue", 2, 64
SHAPES = {
    SEGUE: "1 web process, 2 workers, micro-batches of up to 16, S3, Redis, housekeeper",
    **{name: peer.shape for name, peer in PEERS.items()},
}


def main() -> None:
    asked = arguments()
    about = {**machine(), "arguments": sys.argv[1:]}
    contenders = [(SEGUE, "litert"), *((peer, engine) for engine in asked.engines for peer in installed(asked.peers))]
    runs: dict[tuple[str, str], list[Row]] = {contender: [] for contender in contenders}
    print(f"load before: {about['load']}; {asked.images} photos of 640x480, {asked.clients} clients", flush=True)
    for _ in range(asked.rounds):
        for name, engine in contenders:
            try:
                row = of_segue(asked) if name == SEGUE else of_peer(name, engine, asked)
            except (RuntimeError, TimeoutError) as error:
                print(f"{name}, {engine}: not measured: {error}", flush=True)
                continue
            print(row, flush=True)
            runs[name, engine].append(row)
            save(asked.out, about, [row for rows in runs.values() for row in rows])
    print_table({contender: median(rows) for contender, rows in runs.items() if rows})
    print(f"saved: {asked.out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=listed(PEERS), default=tuple(PEERS), help=",".join(PEERS))
    parser.add_argument("--engines", type=listed(ENGINES), default=tuple(ENGINES), help=",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--clients", type=int, default=64)
    out = ROOT / "var" / "bench" / f"peers-{time.strftime('%Y%m%d-%H%M%S')}.json"
    parser.add_argument("--out", type=Path, default=out)
    return parser.parse_args()


def installed(names: tuple[str, ...]) -> list[str]:
    """Install each peer. Returns those that could be installed, and reports the others."""
    found = []
    for name in names:
        try:
            install(name)
            found.append(name)
        except RuntimeError as error:
            print(f"{name}: cannot be installed: {error}", flush=True)
    return found


def of_segue(asked: argparse.Namespace) -> Row:
    with running(WORKERS) as stack:
        way = "one" if closed.answers_with_masks(stack, photos(640, 480)[0]) else "two"
        row = closed.closed(stack, "640x480", photos(640, 480), asked.clients, asked.images, way=way)
    return Row("peers", f"{SEGUE}, litert", row.figures)


def of_peer(name: str, engine: str, asked: argparse.Namespace) -> Row:
    with tempfile.TemporaryDirectory() as scratch, serving(name, engine, Path(scratch)) as (port, processes):
        load.Load(port, photos(640, 480), asked.clients, WARM_UP).closed_loop(posted)
        meter = Meter(processes)
        seen = load.Load(port, photos(640, 480), asked.clients, asked.images).closed_loop(posted)
        return Row("peers", f"{name}, {engine}", {**seen.figures(), **meter.figures(asked.images)})


def posted(client: load.Client, photo: bytes) -> tuple[float, str]:
    started = time.perf_counter()
    answer = client.post(PATH, photo).expect(200)
    if not answer.body.startswith(b"\x89PNG"):
        raise RuntimeError(f"no mask: {answer.body[:100]!r}")
    return time.perf_counter() - started, ""


def median(rows: list[Row]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {key: statistics.median(row.figures[key] for row in rows) for key in rows[0].figures}


def print_table(runs: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
    segue = runs.get((SEGUE, "litert"), {})
    print("medians of the rounds; CPU time and memory are sums over all processes except the client")
    for (name, engine), figures in runs.items():
        rate, cpu = figures.get("images_per_s", 0.0), figures["cpu_ms.all"]
        peak = sum(value for key, value in figures.items() if key.startswith("peak_mb"))
        print(
            f"{name:<9} {ENGINES[engine]:<11}{rate:6.1f} images/s, {cpu:5.1f} CPU ms per image, "
            f"p99 {figures.get('job_ms.p99', 0):6.0f} ms, {figures['errors']:.0f} errors, {peak:5.0f} MB"
            + (f"; vs. Segue {rate / segue['images_per_s']:.2f} x, {cpu / segue['cpu_ms.all']:.2f} x" if segue else "")
            + f"  ({SHAPES[name]})"
        )


if __name__ == "__main__":
    main()
