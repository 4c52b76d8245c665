"""The registry of networks. A model version's card names its network; engines and training build it from here.

To add a network, write a class with the methods of `Network` and add it to `NETWORKS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras

from model.networks.lite import LiteUNet
from model.networks.plain import PlainUNet
from model.networks.unet import MobileNetUNet
from model.networks.weights import Named

STRIDE = 32  # of the deepest features of every network
Forward = Callable[[Any], Any]


class Network(Protocol):
    """A family of networks from float32[n,size,size,3] in [-1, 1] to float32[n,size,size,classes] logits."""

    def build(self, classes: int, size: int) -> keras.Model:
        """The network with random weights."""

    def imagenet(self, size: int) -> Named:
        """The weights of its encoder, trained on ImageNet. Raises ValueError, in one line, if there are none."""

    def for_cpu(self, network: keras.Model) -> Forward:
        """The same function as `network` in inference mode, in operations that LiteRT runs fast."""


NETWORKS: dict[str, Network] = {
    "unet128": MobileNetUNet(),
    "lite0": LiteUNet(0, neck=96, decoder=(96, 64, 48, 16)),
    "lite0-thin": LiteUNet(0, neck=96, decoder=(96, 64, 32, 16)),
    "lite0-small": LiteUNet(0, neck=96, decoder=(96, 64, 32, 16), thinned=(0, 64, 96, 96)),
    "lite2": LiteUNet(2, neck=160, decoder=(192, 128, 96, 64)),
    "plain": PlainUNet(encoder=(16, 24, 32, 48, 64), decoder=(48, 32, 24, 16)),
}


def build(name: str, classes: int, size: int) -> keras.Model:
    """The network `name` with random weights. Raises ValueError, in one line, if it cannot be built."""
    if name not in NETWORKS:
        raise ValueError(f"is of the network {name!r}, which this version of Segue does not know")
    if size < 1 or size % STRIDE:
        raise ValueError(f"is for {size} x {size} pixels, which is not a multiple of {STRIDE}")
    return NETWORKS[name].build(classes, size)


def load(path: Path, network: str, classes: int, size: int) -> keras.Model:
    """A network with the weights of a Keras weights file. Raises ValueError, in one line, if they do not fit."""
    model = build(network, classes, size)
    try:
        model.load_weights(path)
    except (OSError, KeyError):
        raise ValueError("is not a Keras weights file") from None
    except ValueError:
        raise ValueError(f"holds weights of another network than {network} with {classes} classes") from None
    return model


def save_float16(model: keras.Model, network: str, path: Path) -> None:
    """Save the weights at half the size; a float32 network loads them unchanged."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        half = build(network, model.output_shape[-1], model.input_shape[1])
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(model.get_weights())
    half.save_weights(path)
