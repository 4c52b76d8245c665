"""Weights by the names of their layers: reading them, and starting a network from those of another one."""

import zipfile
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from model.networks.layers import layers

Floats = NDArray[np.float32]
Named = dict[str, list[Floats]]
TORCH = ("weight", "bias", "running_mean", "running_var")


def named(model: keras.Model) -> Named:
    """The weights by the name of their layer, in Keras' order."""
    return {layer.name: layer.get_weights() for layer in layers(model) if layer.get_weights()}


def start_from(model: keras.Model, weights: Named) -> list[str]:
    """Set every layer for which `weights` has arrays of its shapes. Returns the names of the other layers."""
    others = []
    for name, own in named(model).items():
        given = weights.get(name, [])
        if [array.shape for array in given] == [array.shape for array in own]:
            _layer(model, name).set_weights(given)
        else:
            others.append(name)
    return others


def read_torch(path: Path) -> Named:
    """A PyTorch state dictionary in an .npz file, keys {layer}.weight, .bias, .running_mean, .running_var."""
    try:
        with np.load(path) as state:
            arrays = {key: np.asarray(state[key], np.float32) for key in state.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise ValueError(f"{path} is not an .npz file of weights") from None
    return from_torch(arrays)


def from_torch(arrays: dict[str, Floats]) -> Named:
    """PyTorch's names and layouts to Keras': kernels [out,in,h,w] → [h,w,in,out], depthwise [c,1,h,w] → [h,w,c,1]."""
    names = dict.fromkeys(key.rpartition(".")[0] for key in arrays)
    return {name: [_kernel(arrays[f"{name}.{key}"]) for key in TORCH if f"{name}.{key}" in arrays] for name in names}


def _kernel(array: Floats) -> Floats:
    if array.ndim != 4:
        return array
    depthwise = array.shape[1] == 1 and array.shape[0] > 1
    return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def _layer(model: keras.Model, name: str) -> keras.layers.Layer:
    return next(layer for layer in layers(model) if layer.name == name)
