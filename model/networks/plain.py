"""A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) that needs no pretrained encoder.

It learns simple pictures from scratch in seconds, which is enough to try a training, a gate or a rollout. For photos
take a network with a pretrained encoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from model.networks.fold import folded_forward
from model.networks.layers import convolved
from model.networks.weights import Named


@dataclass(frozen=True)
class PlainUNet:
    """`encoder`: channels at strides 2, 4, 8, 16, 32; `decoder`: at strides 16, 8, 4, 2."""

    encoder: tuple[int, int, int, int, int]
    decoder: tuple[int, int, int, int]

    def build(self, classes: int, size: int) -> keras.Model:
        """float32[n,size,size,3] in [-1, 1] → float32[n,size,size,classes] logits. `size`: a multiple of 32."""
        image = x = keras.Input((size, size, 3), name="image")
        features = []
        for stage, channels in enumerate(self.encoder):
            x = convolved(x, channels, 3, f"e{stage}", strides=2)
            features.append(x)
        for stage, (channels, skip) in enumerate(zip(self.decoder, reversed(features[:-1]), strict=True)):
            x = keras.layers.Concatenate(name=f"cat{stage}")([_upsampled(x, f"up{stage}"), skip])
            x = convolved(x, channels, 3, f"d{stage}")
        logits = keras.layers.Conv2D(classes, 3, padding="same", name="logits", dtype="float32")
        return keras.Model(image, logits(_upsampled(x, "up")), name="plain_unet")

    def imagenet(self, _size: int) -> Named:
        """Raises ValueError: there are none."""
        raise ValueError("a plain U-Net has no ImageNet weights: leave out the start")

    def for_cpu(self, network: keras.Model) -> Callable[[Any], Any]:
        """The same function as `network` in inference mode, with BatchNorms folded away."""
        return folded_forward(network)


def _upsampled(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)
