"""Makes the engine of one model version misbehave in the workers, as the variable SABOTAGE says.

Every Python process of a stack imports this module through PYTHONPATH; only workers import the engine.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from lethal import LETHAL
from numpy.typing import NDArray
from wrapping import install

VERSION = "9"

Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def classes(usual: Logits, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Every pixel gets the class after its own."""
    return np.roll(usual(images), 1, axis=-1)


def slow(usual: Logits, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Half as long again, on a processor as busy."""
    started = time.monotonic()
    found, over = usual(images), time.monotonic()
    while time.monotonic() < over + (over - started) / 2:
        pass
    return found


def crash(usual: Logits, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    if (images == np.array(LETHAL, np.uint8)).all(axis=(1, 2, 3)).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(images)


def _wrap(module: ModuleType) -> None:
    engine, wrong = module.LiteRTEngine, WAYS[os.environ["SABOTAGE"]]
    init, infer = engine.__init__, engine.logits

    def noting(self: Any, path: Path, card: Any, *more: Any) -> None:
        init(self, path, card, *more)
        self.version = card.version

    def logits(self: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        def usual(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = infer(self, photos)
            return found

        return wrong(usual, images) if self.version == VERSION else usual(images)

    engine.__init__, engine.logits = noting, logits


WAYS = {"classes": classes, "slow": slow, "crash": crash}
install({"model.litert": _wrap})
