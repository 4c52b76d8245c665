"""Compares the network's speed in LiteRT with that of dense int8 3x3 convolutions of its layers' shapes."""

# ruff: noqa: PLC0415 - the process that builds imports TensorFlow, the one that measures imports LiteRT

import statistics
import time
from pathlib import Path
from typing import Any

# Side, channels in, channels out of the decoder's inputs.
SHAPES = ((12, 208, 96), (24, 136, 64), (48, 88, 32), (96, 48, 16))
BATCH, ROUNDS = 16, 15


def build(folder: Path) -> None:
    for side, inner, outer in SHAPES:
        (folder / f"{side}.tflite").write_bytes(tile(side, inner, outer))


def tile(side: int, inner: int, outer: int) -> bytes:
    """Build the int8 file of one 3x3 convolution with bias and ReLU."""
    import numpy as np
    import tensorflow as tf

    rng, shape = np.random.default_rng(0), (1, side, side, inner)
    kernel = rng.normal(0, 0.05, (3, 3, inner, outer)).astype(np.float32)
    convolve = tf.function(lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.1))
    function = convolve.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.random(shape, np.float32)] for _ in range(3))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


def count_macs(network: Any) -> int:
    """Count the multiplications per image from the layers.

    A transposed convolution multiplies per input pixel.
    """
    from model.networks.layers import layers

    macs = 0
    for layer in layers(network):
        kind, kernel = type(layer).__name__, [weight.shape for weight in layer.weights if len(weight.shape) == 4]
        if not kernel:
            continue
        height, width = (layer.input if kind == "Conv2DTranspose" else layer.output).shape[1:3]
        taps = kernel[0][0] * kernel[0][1] * kernel[0][2] * kernel[0][3]
        macs += height * width * taps
    return int(macs)


def print_efficiency(int8: Path, folder: Path, macs: int) -> None:
    """`macs`: multiplications per image of the network in the file `int8`."""
    work = {str(int8): macs} | {
        str(folder / f"{side}.tflite"): side * side * 9 * inner * outer for side, inner, outer in SHAPES
    }
    speeds = operations_per_second(work)
    network, best = speeds[str(int8)], max(speeds[str(folder / f"{side}.tflite")] for side, _, _ in SHAPES)
    print(
        f"{2 * macs / 1e9:.2f} GFLOP per image at {network / 1e9:.0f} G/s of CPU; best dense 3x3 of its shapes "
        f"{best / 1e9:.0f} G/s: aim 60 %, measured {network / best:.0%}"
    )


def operations_per_second(work: dict[str, int]) -> dict[str, float]:
    """Return file → 2 x MACs per CPU second: medians of interleaved runs, batches of 16, one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreters, times = {}, {path: [] for path in work}
    for path in work:
        interpreter = Interpreter(path, num_threads=1)
        (entry,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(entry["index"], [BATCH, *entry["shape"][1:]])
        interpreter.allocate_tensors()
        interpreter.invoke()
        interpreters[path] = interpreter
    for _ in range(ROUNDS):
        for path, interpreter in interpreters.items():
            started = time.process_time()
            interpreter.invoke()
            times[path].append((time.process_time() - started) / BATCH)
    return {path: 2 * work[path] / statistics.median(values) for path, values in times.items()}
