"""A model version ready to use: photos in, masks out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.card import Card
from model.engines import FILES, TITLES, Engine, EngineName
from model.images import scale_to_input, to_mask


class Segmenter:
    """Loads the version in `folder` (card.json and its file for `engine`).

    Raises ValueError, in one line with the version and the file, where that file is not the card's.
    """

    def __init__(self, folder: Path, engine: EngineName = "litert") -> None:
        self.card, file = Card.load(folder), FILES[engine]
        version = f"model {self.card.name}/{self.card.version}"
        if file not in self.card.files:
            raise ValueError(f"{version} has no file for the {TITLES[engine]} engine ({file})")
        if file in self.card.damaged(folder):
            raise ValueError(f"{version} is damaged: {file}")
        try:
            self.engine = _load(engine, folder / file, self.card.input_size, len(self.card.labels))
        except ValueError as error:
            raise ValueError(f"{version}: {file} {error}") from error

    def to_input(self, photo: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB photo → uint8[size,size,3]."""
        return scale_to_input(photo, self.card.input_size)

    def masks(self, photos: Sequence[Image.Image]) -> list[NDArray[np.uint8]]:
        """Upright RGB photos → class ids, uint8[height,width] each at its photo's size."""
        logits = self.engine.logits(np.stack([self.to_input(photo) for photo in photos]))
        return [to_mask(one, *photo.size) for one, photo in zip(logits, photos, strict=True)]


def _load(engine: EngineName, path: Path, size: int, classes: int) -> Engine:
    """Imports the runtime only here, so that photos can be handled without one."""
    if engine == "tensorflow":
        from model.tf_engine import TensorFlowEngine

        return TensorFlowEngine(path, size, classes)
    from model.litert import LiteRTEngine

    return LiteRTEngine(path, size, classes)
