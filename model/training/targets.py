"""What the teachers say of each training photo, computed once a run and kept in a file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from model.card import sha256
from model.data import Example
from model.images import scale_to_input, to_network
from model.training.recipe import Recipe, Trained
from model.training.start import trained_network

CHUNK = 32


@dataclass(frozen=True)
class Soft:
    """`maps`: uint8[photos,size,size,classes], the teachers' mean probabilities x 255 of each whole photo."""

    maps: NDArray[np.uint8]
    share: float

    def scaled(
        self, which: int, window: NDArray[np.float64], photo: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The map of one photo, and `window` (output → photo [height, width]) as output → map."""
        taught = self.maps[which]
        scale = np.array([[taught.shape[1] / photo[1]], [taught.shape[0] / photo[0]]])
        moved = window * scale
        moved[:, 2:] += 0.5 * scale - 0.5  # pixel centres
        return taught, moved


def soft_targets(recipe: Recipe, pairs: Sequence[Example], classes: int, cache: Path) -> Soft | None:
    """None without teachers. `cache`: the folder that keeps the maps, for runs with the same photos and teachers."""
    teachers, size = recipe.teachers, recipe.size
    if not teachers:
        return None
    key = hashlib.sha256("\n".join(pair.name for pair in pairs).encode())
    for teacher in teachers:
        key.update(f"{teacher.network} {teacher.size} {sha256(teacher.weights)}".encode())
    path = cache / f"teachers-{size}-{key.hexdigest()[:12]}.npy"
    if not path.exists():
        maps = _predicted(teachers, pairs, classes, size)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, maps)
        partial.replace(path)
    return Soft(np.load(path, mmap_mode="r"), recipe.teacher_share)


def _predicted(teachers: Sequence[Trained], pairs: Sequence[Example], classes: int, size: int) -> NDArray[np.uint8]:
    total = np.zeros((len(pairs), size, size, classes), np.float16)
    for teacher in teachers:
        network = trained_network(teacher, classes)
        for start in range(0, len(pairs), CHUNK):
            photos = [scale_to_input(pair.open()[0], teacher.size) for pair in pairs[start : start + CHUNK]]
            x = to_network(np.stack(photos))
            for mirrored in (False, True):
                probabilities = _probabilities(network, x[:, :, ::-1] if mirrored else x)
                kept = probabilities[:, :, ::-1] if mirrored else probabilities
                for offset, one in enumerate(kept):
                    total[start + offset] += cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(total.astype(np.float32) * (255 / (2 * len(teachers)))), np.uint8)


def _probabilities(network: keras.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = network.predict_on_batch(np.ascontiguousarray(x))
    return np.asarray(keras.ops.softmax(logits, axis=-1), np.float32)
