"""The registry of engines, and the choice of one for this machine. Imports no engine until it is loaded.

To add an engine, write a class with the methods of `Engine` and add an `EngineKind` to `ENGINES`.
"""

import importlib
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model.card import Card

EngineName = Literal["litert", "tensorflow"]
# TensorFlow can use no GPU without one of these devices: NVIDIA, AMD, Windows Subsystem for Linux.
GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))


class Engine(Protocol):
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes], any n ≥ 1."""


class EngineUnavailable(Exception):
    """The requested engine cannot run here; the text gives the reason in one sentence."""


@dataclass(frozen=True)
class EngineKind:
    """What Segue knows of an engine without importing it.

    `package`: the Python package it needs; `file`: the file of a model version that it loads;
    `batch_sizes`: the batch sizes that it plans or compiles when it loads, ascending;
    `factory`: "module:class", called with the path of the file and the version's card.
    """

    title: str
    package: str
    file: str
    batch_sizes: tuple[int, ...]
    factory: str

    def load(self, path: Path, card: Card) -> Engine:
        """Raises ValueError, in one line, if the file does not fit the card."""
        module, _, name = self.factory.partition(":")
        engine: Engine = getattr(importlib.import_module(module), name)(path, card)
        return engine


ENGINES: dict[EngineName, EngineKind] = {
    # On a CPU, batches of more than four images gain nothing, and each size costs memory for its own packed weights.
    "litert": EngineKind("LiteRT", "ai_edge_litert", "int8.tflite", (1, 4), "model.litert:LiteRTEngine"),
    "tensorflow": EngineKind(
        "TensorFlow", "tensorflow", "float16.weights.h5", (1, 4, 16), "model.tf_engine:TensorFlowEngine"
    ),
}


def choose(wanted: Literal["auto", "litert", "tensorflow"]) -> EngineName:
    """`auto`: TensorFlow if it is installed and sees a GPU, LiteRT otherwise. Raises EngineUnavailable."""
    if wanted == "auto":
        return _best()
    if wanted not in installed():
        kind = ENGINES[wanted]
        raise EngineUnavailable(f"the {kind.title} engine needs the package {kind.package}, which is not installed")
    return wanted


def _best() -> EngineName:
    here = installed()
    if "tensorflow" in here and ("litert" not in here or gpu_visible()):
        return "tensorflow"
    if "litert" in here:
        return "litert"
    packages = " or ".join(kind.package for kind in ENGINES.values())
    raise EngineUnavailable(f"no engine is installed: install {packages}")


def installed() -> list[EngineName]:
    return [name for name, kind in ENGINES.items() if importlib.util.find_spec(kind.package)]


def gpu_visible() -> bool:
    """Whether TensorFlow sees a GPU. Runs in a subprocess: the check takes seconds, memory, and the GPU."""
    if not any(device.exists() for device in GPU_DEVICES):
        return False
    question = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"
    return subprocess.run([sys.executable, "-c", question], capture_output=True, check=False).returncode == 0
