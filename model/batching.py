"""Runs any number of images through an engine that accepts fixed batch sizes only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def in_batches(
    images: NDArray[np.uint8], sizes: tuple[int, ...], run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Run `images` in batches, each padded with black images to one of `sizes` (ascending).

    Returns the logits of all images, without those of the padding.
    """
    largest = sizes[-1]
    chunks = [images[start : start + largest] for start in range(0, len(images), largest)]
    parts = [run(_padded(chunk, sizes))[: len(chunk)] for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _padded(images: NDArray[np.uint8], sizes: tuple[int, ...]) -> NDArray[np.uint8]:
    size = next(size for size in sizes if size >= len(images))
    if size == len(images):
        return images
    padded = np.zeros((size, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    return padded
