"""Found through PYTHONPATH by every Python of a stack: a photo of one certain colour is poison in the forward pass."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import numpy as np
from colours import KILLS, RAISES
from numpy.typing import NDArray

ENGINE = "model.litert"


class Poisoned(MetaPathFinder):
    """Wraps the engine once it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != ENGINE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def then_wrap(module: ModuleType) -> None:
            execute(module)
            _wrap(module)

        spec.loader.exec_module = then_wrap  # type: ignore[method-assign]
        return spec


def _wrap(module: ModuleType) -> None:
    infer = module.LiteRTEngine.logits

    def logits(self: object, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if _has(images, RAISES):
            raise RuntimeError("poison")
        if _has(images, KILLS):
            os.kill(os.getpid(), signal.SIGKILL)
        found: NDArray[np.float32] = infer(self, images)
        return found

    module.LiteRTEngine.logits = logits


def _has(images: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((images == np.array(colour, np.uint8)).all(axis=(1, 2, 3)).any())


sys.meta_path.insert(0, Poisoned())
