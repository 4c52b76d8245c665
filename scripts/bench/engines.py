"""Compares the engines in one run: `make bench-model`.

Each engine and number of threads has its own process. They take turns, one round each, so that other
load on the machine affects all alike. CPU seconds count, not wall time.
"""

# ruff: noqa: PLC0415 - each process imports its own engine and no other

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tiles

from model.card import Card

ROOT = Path(__file__).resolve().parents[2]
VERSION = ROOT / "model" / "weights" / "pets" / "3"
INT8, WEIGHTS = VERSION / "int8.tflite", VERSION / "float16.weights.h5"
CARD = Card.load(VERSION)
SIZE = CARD.input_size
ENGINES = ("Keras model()", "folded SavedModel", "TensorFlow engine", "LiteRT int8 engine")
BATCHES, THREADS, ROUNDS, IMAGES = (1, 4, 16), (1, 2), 5, 16
MODES = [(engine, threads) for threads in THREADS for engine in ENGINES]
Forward = Callable[[Any], Any]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        built = run_alone(build, Path(scratch))
        print_engines(Path(scratch))
        tiles.print_efficiency(INT8, Path(scratch), built["macs"])
        print_cold_start()


def run_alone(function: Callable[..., None], *arguments: Any) -> Any:
    """Run `function` in a new process and return what it sends: TensorFlow must not be loaded in this one."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=function, args=(there, *arguments))
    process.start()
    there.close()  # so that recv() ends if the process dies
    answer = here.recv()
    process.join()
    return answer


def build(pipe: Connection, scratch: Path) -> None:
    """Save the SavedModel and the tiles, and send the network's number of multiplications."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from model.networks.fold import folded
    from model.networks.registry import load as load_network

    unet = folded(load_network(WEIGHTS, CARD.network, len(CARD.labels), SIZE))
    module = tf.Module()
    module.unet = unet
    module.forward = tf.function(
        lambda images: unet(tf.cast(images, tf.float32) / 127.5 - 1, training=False),
        input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8)],
        autograph=False,
    )
    tf.saved_model.save(module, str(scratch / "saved"))
    tiles.build(scratch)
    pipe.send({"macs": tiles.count_macs(unet)})


def serve(pipe: Connection, engine: str, threads: int, scratch: Path) -> None:
    """For each batch size received, run one round and send (CPU, wall) seconds per image. 0 ends."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    forward = load(engine, threads, scratch)
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), SIZE, SIZE, 3), np.uint8)
    for count in BATCHES:
        forward(images[:count])
    pipe.send("ready")
    while count := pipe.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(IMAGES // count):
            forward(images[:count])
        pipe.send(((time.process_time() - cpu) / IMAGES, (time.perf_counter() - wall) / IMAGES))


def load(engine: str, threads: int, scratch: Path) -> Forward:
    """Load an engine as a function uint8[n,size,size,3] → logits, which includes the scaling of the bytes."""
    if engine == "LiteRT int8 engine":
        from model.litert import LiteRTEngine

        return LiteRTEngine(INT8, CARD, threads).logits
    if engine == "TensorFlow engine":
        from model.tf_engine import TensorFlowEngine

        return TensorFlowEngine(WEIGHTS, CARD).logits
    import numpy as np
    import tensorflow as tf

    if engine == "folded SavedModel":
        saved = tf.saved_model.load(str(scratch / "saved"))
        return lambda images: saved.forward(tf.constant(images)).numpy()
    from model.networks.registry import load as load_network

    unet = load_network(WEIGHTS, CARD.network, len(CARD.labels), SIZE)
    return lambda images: unet(images.astype(np.float32) / np.float32(127.5) - 1, training=False).numpy()


def print_engines(scratch: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[tuple[str, int], Connection] = {}
    processes = []
    for engine, threads in MODES:
        here, there = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(there, engine, threads, scratch)))
        processes[-1].start()
        there.close()
        assert here.recv() == "ready"
        pipes[engine, threads] = here
    times = {(mode, count): [] for mode in MODES for count in BATCHES}
    for _ in range(ROUNDS):
        for count in BATCHES:
            for mode, pipe in pipes.items():
                pipe.send(count)
                times[mode, count].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(0)
    for process in processes:
        process.join()
    print_table({key: median(values) for key, values in times.items()})


def median(values: list[tuple[float, float]]) -> tuple[float, float]:
    cpu, wall = zip(*values, strict=True)
    return statistics.median(cpu), statistics.median(wall)


def print_table(times: dict[Any, tuple[float, float]]) -> None:
    print("images per core-second (per second of wall), medians of", ROUNDS, "interleaved rounds")
    print(f"{'engine':<20}{'threads':>8}" + "".join(f"{f'batch {count}':>16}" for count in BATCHES))
    for engine, threads in MODES:
        cells = [times[(engine, threads), count] for count in BATCHES]
        print(f"{engine:<20}{threads:>8}" + "".join(f"{f'{1 / cpu:.0f} ({1 / wall:.0f})':>16}" for cpu, wall in cells))
    for baseline, aim in (("Keras model()", 4.0), ("folded SavedModel", 2.5)):
        for threads in THREADS:
            ratios = [
                times[(baseline, threads), count][0] / times[("LiteRT int8 engine", threads), count][0]
                for count in BATCHES
            ]
            shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
            print(f"LiteRT int8 to {baseline}, {threads} threads, batch 1, 4, 16: aim {aim}, measured {shown}")


def print_cold_start() -> None:
    """Measure a new process with the imports of a worker's child: time to its first mask, then its memory."""
    code = (
        "import sys, time; started = time.perf_counter(); sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import numpy as np; from PIL import Image; import worker.pipeline.pipeline\n"
        "from model.segmenter import Segmenter\n"
        "segmenter = Segmenter(Path(sys.argv[2])); segmenter.masks([Image.new('RGB', (640, 480))])\n"
        "seconds = time.perf_counter() - started\n"
        "size = segmenter.card.input_size; segmenter.engine.logits(np.zeros((16, size, size, 3), np.uint8))\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(seconds, [int(line.split()[1]) / 1000 for line in lines if line.startswith('VmRSS')][0])"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(VERSION)]
    runs = [json.loads("[" + subprocess.check_output(command, text=True).replace(" ", ",") + "]") for _ in range(5)]
    seconds, megabytes = (statistics.median(side) for side in zip(*runs, strict=True))
    print(f"cold start, imports to first mask: aim < 1 s, measured {seconds:.2f} s (after the interpreter's own start)")
    print(f"resident after 16 images at once, the worker's imports included: aim < 150 MB, measured {megabytes:.0f}")


if __name__ == "__main__":
    main()
