"""The bare work on an image, as a worker does it: decode, infer, encode. Peers run exactly this code.

Imports only what this work needs, because each peer runs it in an environment of its own.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.engines import EngineName
from model.images import confidence
from model.masks import class_counts, to_mask
from model.png import to_mask_png
from model.segmenter import Segmenter
from storage.photos.photo import Header, decode, read_header
from storage.settings import Settings
from worker.pipeline.probabilities import chunks

VERSION = Path(__file__).resolve().parents[2] / "model" / "weights" / "pets" / "3"
Pixels = NDArray[np.uint8]


class Work:
    """`stages_s`: CPU seconds of this process so far, by stage."""

    def __init__(self, engine: EngineName = "litert") -> None:
        self._segmenter, self._settings = Segmenter(VERSION, engine), Settings()
        self.stages_s: dict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.stages_s[stage] += time.process_time() - started

    def check(self, photo: bytes) -> Header:
        """What the web server does before it accepts a photo."""
        with self._timed("header"):
            return read_header(photo, self._settings)

    def prepare(self, photo: bytes) -> tuple[Header, Pixels]:
        """The photo's header and the network's input, uint8[size,size,3]."""
        with self._timed("decode"):
            header, image = decode(photo, self._settings, at_least=2 * self._segmenter.card.input_size)
        with self._timed("to_input"):
            return header, self._segmenter.to_input(image)

    def infer(self, inputs: list[Pixels]) -> NDArray[np.float32]:
        with self._timed("infer"):
            return self._segmenter.engine.logits(np.stack(inputs))

    def encode(self, logits: NDArray[np.float32], header: Header) -> bytes:
        """The PNG that a worker stores: mask, confidence, class counts."""
        labels = self._segmenter.card.labels
        with self._timed("confidence"):
            probabilities = dict(chunks(confidence(logits), logits, self._segmenter.card))
        with self._timed("mask"):
            mask = to_mask(logits, header.width, header.height)
        with self._timed("counts"):
            counts = class_counts(mask, len(labels))
        with self._timed("png"):
            text = {label.name: str(count) for label, count in zip(labels, counts, strict=True)}
            return to_mask_png(mask, labels, text, probabilities)

    def masks(self, photos: list[bytes]) -> list[bytes]:
        """JPEGs → mask PNGs, as one micro-batch."""
        headers, inputs = zip(*map(self.prepare, photos), strict=True)
        return [self.encode(*pair) for pair in zip(self.infer(list(inputs)), headers, strict=True)]
