"""Random crops, mirrors and colours for training."""

import math

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.data import Example

AREA_RANGE = (0.5, 1.0)
ASPECT_RANGE = (0.85, 1.18)
BRIGHTNESS, CONTRAST, COLOUR, GREY_SHARE = 0.2, 0.25, 0.3, 0.1


class Augmented(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of randomly cropped, flipped and recoloured photos.

    float32[b,size,size,3] in [-1, 1], uint8[b,size,size]; the order is new in every epoch, the last partial batch
    is left out.
    """

    def __init__(self, pairs: list[Example], batch_size: int, size: int, seed: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._pairs = [pair.open() for pair in pairs]
        self._batch_size, self._size = batch_size, size
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(self._pairs))

    def __len__(self) -> int:
        return len(self._pairs) // self._batch_size

    def on_epoch_end(self) -> None:
        self._order = self._rng.permutation(len(self._pairs))

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        pairs = [self._crop(*self._pairs[i]) for i in chosen]
        photos, classes = (np.stack(side) for side in zip(*pairs, strict=True))
        return self._recolour(photos), classes

    def _crop(self, photo: Image.Image, classes: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A random window of 50-100 % of the area, squeezed to the input, half of them mirrored."""
        rng, (width, height) = self._rng, photo.size
        share, aspect = math.sqrt(rng.uniform(*AREA_RANGE)), math.sqrt(rng.uniform(*ASPECT_RANGE))
        w, h = min(width, width * share * aspect), min(height, height * share / aspect)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        target, box = (self._size, self._size), (x, y, x + w, y + h)
        rgb = np.asarray(photo.resize(target, Image.Resampling.BILINEAR, box=box))
        ids = np.asarray(classes.resize(target, Image.Resampling.NEAREST, box=box))
        return (rgb[:, ::-1], ids[:, ::-1]) if rng.random() < 0.5 else (rgb, ids)

    def _recolour(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Brightness, contrast and saturation jitter, some photos grey: uint8 → float32 in [-1, 1]."""
        rng, shape = self._rng, (len(photos), 1, 1, 1)
        x = photos.astype(np.float32) / np.float32(127.5) - 1
        grey = x.mean(axis=3, keepdims=True)
        colour = rng.uniform(1 - COLOUR, 1 + COLOUR, shape) * (rng.random(shape) >= GREY_SHARE)
        x = grey + (x - grey) * colour.astype(np.float32)
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST, shape).astype(np.float32)
        brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS, shape).astype(np.float32)
        recoloured: NDArray[np.float32] = np.clip(mean + (x - mean) * contrast + brightness, -1, 1)
        return recoloured
