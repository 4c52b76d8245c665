"""The engine for GPUs: TensorFlow, with the network from code and its weights from a file.

On a GPU, XLA compiles the network and computes in float16; on a CPU both are slower than plain float32. The decoder's
transposed convolutions stay whole: split, as LiteRT needs them, they are slower here.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.batching import in_batches
from model.engines import ENGINES
from model.fold import folded
from model.unet import INPUT_SIZE, load_unet

SIZES = ENGINES["tensorflow"].batch_sizes


class TensorFlowEngine:
    """One function for every batch size, traced (and on a GPU compiled) at load."""

    def __init__(self, path: Path, size: int, classes: int, gpu: bool | None = None) -> None:
        """`gpu`: run as on a GPU (default: if there is one). Raises ValueError if the weights do not fit."""
        if size != INPUT_SIZE:
            raise ValueError(f"is for {INPUT_SIZE} x {INPUT_SIZE} pixels and the card wants {size} x {size}")
        devices = tf.config.list_physical_devices("GPU")
        for device in devices:  # otherwise the first engine takes all of the GPU's memory
            tf.config.experimental.set_memory_growth(device, True)
        self._forward = _compiled(path, classes, bool(devices) if gpu is None else gpu)
        for count in SIZES:
            self.logits(np.zeros((count, size, size, 3), np.uint8))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes]."""
        return in_batches(images, SIZES, lambda padded: self._forward(tf.constant(padded)).numpy())


def _compiled(path: Path, classes: int, gpu: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    unet = folded(load_unet(path, classes), "mixed_float16" if gpu else "float32")

    def forward(images: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32) / 127.5 - 1
        return tf.cast(unet(pixels, training=False), tf.float32)

    return tf.function(forward, jit_compile=gpu, autograph=False)  # type: ignore[no-any-return]
