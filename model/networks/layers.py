"""Layers that networks share, and the layers of a network that contains networks."""

import keras

BATCHNORM_MOMENTUM = 0.9


def layers(network: keras.Model) -> list[keras.layers.Layer]:
    """All layers, including those of nested networks."""
    return [
        inner for layer in network.layers for inner in (layers(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def convolved(x: keras.KerasTensor, channels: int, kernel: int, name: str, strides: int = 1) -> keras.KerasTensor:
    """A convolution, its BatchNorm and ReLU6."""
    x = keras.layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6, name=f"{name}_out")(x)
