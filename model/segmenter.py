"""A model version ready to use: photos in, masks out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.card import Card
from model.engines import ENGINES, EngineName
from model.images import scale_to_input
from model.masks import to_mask


class Segmenter:
    """A version loaded from `folder` (card.json and the file for `engine`).

    Raises ValueError, in one line with the version and the file, if that file does not match the card.
    """

    def __init__(self, folder: Path, engine: EngineName = "litert") -> None:
        self.card, kind = Card.load(folder), ENGINES[engine]
        version = f"model {self.card.id}"
        if kind.file not in self.card.files:
            raise ValueError(f"{version} has no file for the {kind.title} engine ({kind.file})")
        if kind.file in self.card.damaged(folder):
            raise ValueError(f"{version} is damaged: {kind.file}")
        try:
            self.engine = kind.load(folder / kind.file, self.card)
        except ValueError as error:
            raise ValueError(f"{version}: {kind.file} {error}") from error

    def to_input(self, photo: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB photo → uint8[size,size,3]."""
        return scale_to_input(photo, self.card.input_size)

    def masks(self, photos: Sequence[Image.Image]) -> list[NDArray[np.uint8]]:
        """Upright RGB photos → class ids, uint8[height,width] each at its photo's size."""
        logits = self.engine.logits(np.stack([self.to_input(photo) for photo in photos]))
        return [self.mask(one, *photo.size) for one, photo in zip(logits, photos, strict=True)]

    def mask(self, logits: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
        """One image's logits → class ids, uint8[height,width]."""
        return to_mask(logits, width, height)
