"""A model version ready to use: photos in, masks out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.card import Card
from model.images import scale_to_input, to_mask


class Engine(Protocol):
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes], any n ≥ 1."""


class Segmenter:
    """Loads the version in `folder` (card.json and its files). Raises ValueError where a file is not the card's."""

    def __init__(self, folder: Path) -> None:
        from model.litert import FILE, LiteRTEngine  # here, so that photos can be handled without a runtime

        self.card = Card.load(folder)
        if damaged := self.card.damaged(folder):
            raise ValueError(f"model {self.card.name}/{self.card.version} is damaged: {', '.join(damaged)}")
        self.engine: Engine = LiteRTEngine(folder / FILE)

    def to_input(self, photo: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB photo → uint8[size,size,3]."""
        return scale_to_input(photo, self.card.input_size)

    def masks(self, photos: Sequence[Image.Image]) -> list[NDArray[np.uint8]]:
        """Upright RGB photos → class ids, uint8[height,width] each at its photo's size."""
        logits = self.engine.logits(np.stack([self.to_input(photo) for photo in photos]))
        return [to_mask(one, *photo.size) for one, photo in zip(logits, photos, strict=True)]
