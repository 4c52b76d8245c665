"""Folds BatchNorms away: in inference each is a scale and a shift, which the convolution before it can absorb."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.networks.layers import layers

Floats = NDArray[np.float32]


def folded(network: keras.Model, dtype: str = "float32") -> keras.Model:
    """The same function as `network(x, training=False)`; every BatchNorm is part of the convolution before it.

    `dtype`: Keras' policy of the new layers; "mixed_float16" computes in float16 and returns that too.
    """
    norms = {_before(layer).name: layer for layer in layers(network) if _is_norm(layer)}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if _is_norm(layer):
            return keras.layers.Identity(name=layer.name, dtype=dtype)
        config: dict[str, Any] = {**layer.get_config(), "dtype": dtype}
        if layer.name in norms:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: keras.layers.Layer, x: keras.KerasTensor, **_: Any) -> keras.KerasTensor:
        return layer(x)  # without the mask that only a BatchNorm takes

    copy = keras.models.clone_model(network, clone_function=clone, call_function=call, recursive=True)
    for old, new in zip(layers(network), layers(copy), strict=True):
        if old.name in norms:
            new.set_weights(fold_batchnorm(old, norms[old.name]))
        elif not _is_norm(old):
            new.set_weights(old.get_weights())
    return copy


def folded_forward(network: keras.Model) -> Callable[[Any], Any]:
    """The folded network's function in inference mode."""
    plain = folded(network)
    return lambda image: plain(image, training=False)


def fold_batchnorm(convolution: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> tuple[Floats, Floats]:
    """A convolution without bias and its BatchNorm → the kernel and bias[out] of the same function."""
    (kernel,) = convolution.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # Keras' kernels: Conv2D [h,w,in,out], DepthwiseConv2D [h,w,out,1], Conv2DTranspose [h,w,out,in].
    last = type(convolution) is keras.layers.Conv2D
    return kernel * (scale if last else scale[:, None]), beta - mean * scale


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _before(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer.input._keras_history.operation
