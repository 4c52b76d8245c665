"""The U-Net of TensorFlow's image-segmentation tutorial: a MobileNetV2 encoder and an upsampling decoder with skips.

https://www.tensorflow.org/tutorials/images/segmentation: encoder of Sandler et al. 2018 (arXiv:1801.04381), skips of
Ronneberger et al. 2015 (arXiv:1505.04597), decoder blocks of pix2pix (Isola et al. 2017, arXiv:1611.07004). With three
classes it has 6,504,227 parameters.
"""

from collections.abc import Callable
from typing import Any

import keras

from model.networks.fold import folded
from model.networks.weights import Named, named

SKIPS = (
    "block_1_expand_relu",  # size / 2, 96 channels
    "block_3_expand_relu",  # size / 4, 144
    "block_6_expand_relu",  # size / 8, 192
    "block_13_expand_relu",  # size / 16, 576
)
BOTTLENECK = "block_16_project"  # size / 32, 320
DECODER_FILTERS = (512, 256, 128, 64)
# Keras' default of 0.99 does not settle within the few hundred steps an epoch of a small data set has.
DECODER_BATCHNORM_MOMENTUM = 0.9


class MobileNetUNet:
    """Most of its work is in the decoder, which is why newer versions use `LiteUNet`."""

    def build(self, classes: int, size: int) -> keras.Model:
        """float32[n,size,size,3] in [-1, 1] → float32[n,size,size,classes] logits. `size`: a multiple of 32."""
        encoder = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None)
        outputs = [encoder.get_layer(name).output for name in (*SKIPS, BOTTLENECK)]
        image = keras.Input((size, size, 3), name="image")
        *skips, x = keras.Model(encoder.input, outputs, name="encoder")(image)
        for filters, skip in zip(DECODER_FILTERS, reversed(skips), strict=True):
            x = keras.layers.Concatenate()([_upsample(filters, x), skip])
        logits = keras.layers.Conv2DTranspose(classes, 3, strides=2, padding="same", name="logits")(x)
        return keras.Model(image, logits, name="unet")

    def imagenet(self, size: int) -> Named:
        """The encoder's weights, which Keras fetches."""
        shape = (size, size, 3)
        return named(keras.applications.MobileNetV2(input_shape=shape, include_top=False, weights="imagenet"))

    def for_cpu(self, network: keras.Model) -> Callable[[Any], Any]:
        """The same function as `network` in inference mode: BatchNorms folded, transposed convolutions in phases."""
        import tensorflow as tf  # noqa: PLC0415 - the network itself is plain Keras

        from model.networks.phases import transposed_at_once, transposed_by_phases  # noqa: PLC0415 - needs TensorFlow

        plain = folded(network)
        encoder = plain.get_layer("encoder")
        transposed = [layer for layer in plain.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
        *blocks, (last_kernel, last_bias) = [layer.get_weights() for layer in transposed]

        def forward(image: tf.Tensor) -> tf.Tensor:
            *skips, x = encoder(image, training=False)
            for (kernel, bias), skip in zip(blocks, reversed(skips), strict=True):
                x = tf.concat([transposed_by_phases(x, kernel, bias, tf.nn.relu), skip], -1)
            return transposed_at_once(x, last_kernel, last_bias)

        return forward


def _upsample(filters: int, x: keras.KerasTensor) -> keras.KerasTensor:
    """n x n x c → 2n x 2n x filters."""
    x = keras.layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=DECODER_BATCHNORM_MOMENTUM)(x)
    return keras.layers.ReLU()(x)
