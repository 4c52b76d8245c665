"""The model's probabilities, as they are stored with a mask."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model import labels
from model.card import Card
from model.images import probability, to_levels
from storage.photos.confidence import BACKGROUND, CONFIDENCE, MOST, pack

Floats = NDArray[np.float32]


def chunks(sure: Floats, logits: Floats, card: Card) -> Iterator[tuple[bytes, bytes]]:
    """The probabilities that are stored with the mask, by the name of their chunk."""
    yield CONFIDENCE, _packed(sure)
    for label in card.labels:
        if label.name == labels.BACKGROUND:
            yield BACKGROUND, _packed(probability(logits, label.id))


def _packed(values: Floats) -> bytes:
    """float32[h,w], 0 .. 1 → a chunk's content."""
    levels = to_levels(values, MOST)
    return pack(levels.tobytes(), levels.shape[1])
