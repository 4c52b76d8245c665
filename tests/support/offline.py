"""The expected masks: the same photos through the same model, without a queue."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pictures
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from services import SHIPPED_MODEL

from model.segmenter import Segmenter
from storage.photos.photo import decode
from storage.settings import Settings

COUNT, WIDTH, HEIGHT = 20, 160, 120
PET, LEAST_PET = 0, 0.03


@dataclass(frozen=True)
class Photo:
    content: bytes
    mask: NDArray[np.uint8]


@functools.cache
def photos() -> tuple[Photo, ...]:
    """`COUNT` small photos whose masks all differ and are not empty.

    An empty mask would be correct for any photo without a pet.
    """
    return tuple(itertools.islice(_with_a_pet(), COUNT))


def _with_a_pet() -> Iterator[Photo]:
    segmenter, settings = Segmenter(SHIPPED_MODEL), Settings()
    for seed in range(400):
        content = pictures.encoded(_creature(seed), quality=90)
        _, decoded = decode(content, settings, at_least=2 * segmenter.card.input_size)
        [mask] = segmenter.masks([decoded])
        if (mask == PET).mean() >= LEAST_PET:
            yield Photo(content, mask)


def _creature(seed: int) -> Image.Image:
    """A body, a head, ears and eyes, in noise: enough for the model to segment."""
    rng = np.random.default_rng(seed)
    background, fur = (tuple(rng.integers(low, high, 3).tolist()) for low, high in ((60, 200), (0, 256)))
    image = Image.new("RGB", (WIDTH, HEIGHT), background)
    draw = ImageDraw.Draw(image)
    x, y, w, h = (int(rng.integers(low, high)) for low, high in ((50, 110), (50, 80), (25, 45), (20, 35)))
    head_x, head_y = x + w, y - h
    draw.ellipse((x - w, y - h, x + w, y + h), fill=fur)
    draw.ellipse((head_x - 20, head_y - 18, head_x + 16, head_y + 18), fill=fur)
    for ear in (-1, 1):
        draw.polygon(
            [(head_x + 16 * ear, head_y - 5), (head_x + 12 * ear, head_y - 30), (head_x, head_y - 12)], fill=fur
        )
    for eye in (-8, 6):
        draw.ellipse((head_x + eye - 2, head_y - 5, head_x + eye + 3, head_y), fill=(20, 20, 20))
    noisy = np.asarray(image).astype(int) + rng.integers(-25, 25, (HEIGHT, WIDTH, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
