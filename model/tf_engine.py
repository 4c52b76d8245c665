"""The engine for GPUs: TensorFlow, with the network from code and its weights from a file.

On a GPU, XLA compiles the network and computes in float16; on a CPU both are slower than plain float32. The rewrites of
`Network.for_cpu` are for LiteRT: here they are slower.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.batching import in_batches
from model.card import Card
from model.engines import ENGINES
from model.networks.fold import folded
from model.networks.registry import load

SIZES = ENGINES["tensorflow"].batch_sizes


class TensorFlowEngine:
    """One function for every batch size, traced (and on a GPU compiled) at load."""

    def __init__(self, path: Path, card: Card, gpu: bool | None = None) -> None:
        """`gpu`: run as on a GPU (default: if there is one). Raises ValueError if the weights do not fit."""
        devices = tf.config.list_physical_devices("GPU")
        for device in devices:  # otherwise the first engine takes all of the GPU's memory
            tf.config.experimental.set_memory_growth(device, True)
        self._forward = _compiled(path, card, bool(devices) if gpu is None else gpu)
        for count in SIZES:
            self.logits(np.zeros((count, card.input_size, card.input_size, 3), np.uint8))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes]."""
        return in_batches(images, SIZES, lambda padded: self._forward(tf.constant(padded)).numpy())


def _compiled(path: Path, card: Card, gpu: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    trained = load(path, card.network, len(card.labels), card.input_size)
    network = folded(trained, "mixed_float16" if gpu else "float32")

    def forward(images: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32) / 127.5 - 1
        return tf.cast(network(pixels, training=False), tf.float32)

    return tf.function(forward, jit_compile=gpu, autograph=False)  # type: ignore[no-any-return]
