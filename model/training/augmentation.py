"""Random windows, rotations, mirrors and colours, the same for a photo and its target."""

import math
from collections.abc import Sequence

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from model.data import Example
from model.images import to_network
from model.training.recipe import Augmentation
from model.training.targets import Soft

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]


class Augmented(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch of batches: float32[b,size,size,3] in [-1, 1] and class shares float32[b,size,size,classes].

    Every batch is a function of (seed, epoch, index), so a resumed run continues as if it had not stopped. The last
    partial batch is left out.
    """

    def __init__(
        self, pairs: Sequence[Example], classes: int, size: int, batch_size: int, augmentation: Augmentation,
        *, seed: int, epoch: int, soft: Soft | None = None,
    ) -> None:  # fmt: skip
        super().__init__(workers=2, use_multiprocessing=False)
        self._pairs, self._classes, self._size, self._batch_size = pairs, classes, size, batch_size
        self._ranges, self._seed, self._epoch, self._soft = augmentation, seed, epoch, soft
        self._order = np.random.default_rng((seed, epoch)).permutation(len(pairs))

    def __len__(self) -> int:
        return len(self._pairs) // self._batch_size

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        rng = np.random.default_rng((self._seed, self._epoch, index))
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        photos, targets = zip(*(self._example(int(which), rng) for which in chosen), strict=True)
        return recoloured(np.stack(photos), self._ranges, rng), np.stack(targets)

    def _example(self, which: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Floats]:
        photo, classes = (np.asarray(side) for side in self._pairs[which].open())
        window = random_window(photo.shape[1], photo.shape[0], self._size, self._ranges, rng)
        target = shares(classes, window, self._size, self._classes)
        if self._soft:
            taught = _warped(*self._soft.scaled(which, window, photo.shape[:2]), self._size)
            share = np.float32(self._soft.share)
            target = target * (1 - share) + taught.astype(np.float32) * (share / np.float32(255))
        return _warped(photo, window, self._size), target


def random_window(width: int, height: int, size: int, ranges: Augmentation, rng: np.random.Generator) -> Affine:
    """A window of the photo, perhaps turned and mirrored, squeezed to twice `size`: output → photo, float64[2,3]."""
    area, aspect = rng.uniform(*ranges.area), math.exp(rng.uniform(-1, 1) * math.log(ranges.aspect) / 2)
    share_x, share_y = min(1.0, math.sqrt(area) * aspect), min(1.0, math.sqrt(area) / aspect)
    centre = np.array([width * (0.5 + rng.uniform(-0.5, 0.5) * (1 - share_x)),
                       height * (0.5 + rng.uniform(-0.5, 0.5) * (1 - share_y))])  # fmt: skip
    angle = math.radians(rng.uniform(-ranges.rotation, ranges.rotation))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mirror = -1 if rng.random() < 0.5 else 1
    linear = turn @ np.diag([mirror * width * share_x, height * share_y]) / (2 * size)
    middle = size - 0.5  # of an output pixel grid of twice `size`
    return np.column_stack([linear, centre - 0.5 - linear @ [middle, middle]])


def shares(classes: NDArray[np.uint8], window: Affine, size: int, count: int) -> Floats:
    """Class ids uint8[h,w] → the share of each class in each pixel of the window, float32[size,size,count]."""
    one_hot = (classes[..., None] == np.arange(count, dtype=np.uint8)).astype(np.uint8) * np.uint8(255)
    # OpenCV warps at most four channels at once.
    parts = [_warped(one_hot[..., start : start + 4], window, size) for start in range(0, count, 4)]
    return np.concatenate(parts, axis=-1).astype(np.float32) / np.float32(255)


def recoloured(photos: NDArray[np.uint8], ranges: Augmentation, rng: np.random.Generator) -> Floats:
    """Random saturation, white balance, contrast and brightness, some photos grey: uint8 → float32 in [-1, 1]."""

    def around(centre: float, spread: float, channels: int = 1) -> Floats:
        return rng.uniform(centre - spread, centre + spread, (len(photos), 1, 1, channels)).astype(np.float32)

    x = to_network(photos)
    grey = x.mean(axis=3, keepdims=True)
    coloured = (rng.random((len(photos), 1, 1, 1)) >= ranges.grey).astype(np.float32)
    x = (grey + (x - grey) * around(1, ranges.saturation) * coloured) * around(1, ranges.balance, 3)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    x = mean + (x - mean) * around(1, ranges.contrast) + around(0, ranges.brightness)
    return np.asarray(np.clip(x, -1, 1), np.float32)


def _warped(image: NDArray[np.uint8], window: Affine, size: int) -> NDArray[np.uint8]:
    """The window at twice `size`, then the mean of 2x2 pixels: edges become shares instead of jumping."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    double = cv2.warpAffine(image, window, (2 * size, 2 * size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    warped = cv2.resize(double, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8).reshape(size, size, -1)
