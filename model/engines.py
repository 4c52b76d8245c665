"""The engines a model version can run on, and which of them to take on this machine. Imports none of them."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["litert", "tensorflow"]
FILES: dict[EngineName, str] = {"litert": "int8.tflite", "tensorflow": "float16.weights.h5"}
TITLES: dict[EngineName, str] = {"litert": "LiteRT", "tensorflow": "TensorFlow"}
PACKAGES: dict[EngineName, str] = {"litert": "ai_edge_litert", "tensorflow": "tensorflow"}
# Without one of these there is no GPU that TensorFlow could use, and no need to ask it: NVIDIA, AMD, Windows' Linux.
GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
# Images are stacked and padded to the next of these: what is planned or compiled for a size is made once, at load. On a
# CPU larger stacks than four gain nothing and each size costs memory for its own packed weights.
BATCH_SIZES: dict[EngineName, tuple[int, ...]] = {"litert": (1, 4), "tensorflow": (1, 4, 16)}


class Engine(Protocol):
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes], any n ≥ 1."""


class EngineUnavailable(Exception):
    """The engine that is wanted cannot run here; the text says why in one sentence."""


def choose(wanted: Literal["auto", "litert", "tensorflow"]) -> EngineName:
    """`auto`: TensorFlow where it is installed and sees a GPU, LiteRT otherwise. Raises EngineUnavailable."""
    if wanted == "auto":
        return _best()
    if wanted not in installed():
        raise EngineUnavailable(f"the {TITLES[wanted]} engine needs the package {PACKAGES[wanted]}, not installed here")
    return wanted


def _best() -> EngineName:
    here = installed()
    if "tensorflow" in here and ("litert" not in here or gpu_visible()):
        return "tensorflow"
    if "litert" in here:
        return "litert"
    raise EngineUnavailable(f"no engine is installed here: neither {' nor '.join(PACKAGES.values())}")


def installed() -> list[EngineName]:
    return [engine for engine, package in PACKAGES.items() if importlib.util.find_spec(package)]


def gpu_visible() -> bool:
    """Whether TensorFlow sees a GPU. It is asked in a process of its own: it takes seconds, memory, and the GPU."""
    if not any(device.exists() for device in GPU_DEVICES):
        return False
    question = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"
    return subprocess.run([sys.executable, "-c", question], capture_output=True, check=False).returncode == 0  # noqa: S603


def in_micro_batches(
    images: NDArray[np.uint8], sizes: tuple[int, ...], run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """`run` on stacks of `images`, padded with black to one of `sizes` → the logits of all, without the padding."""
    largest = sizes[-1]
    chunks = [images[start : start + largest] for start in range(0, len(images), largest)]
    parts = [run(_padded(chunk, sizes))[: len(chunk)] for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _padded(images: NDArray[np.uint8], sizes: tuple[int, ...]) -> NDArray[np.uint8]:
    size = next(size for size in sizes if size >= len(images))
    if size == len(images):
        return images
    padded = np.zeros((size, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    return padded
