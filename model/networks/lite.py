"""A U-Net over EfficientNet-Lite: most of the work is in a pretrained encoder, little in the decoder.

Encoder: EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), which is
Tan & Le 2019 (arXiv:1905.11946) without squeeze-and-excitation and with ReLU6, so that int8 stays close to float.
Decoder: doubles the resolution bilinearly, concatenates the encoder's features of that stride, and convolves 3x3; the
last convolution yields the logits of 2x2 pixels at once (depth_to_space).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from model.networks import imagenet
from model.networks.fold import folded_forward
from model.networks.layers import convolved
from model.networks.weights import Named

STEM = 32  # channels, whatever the width
# repeats, kernel, stride, expansion, output channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STRIDES = (2, 4, 8, 16, 32)
MULTIPLIERS = {0: (1.0, 1.0), 2: (1.1, 1.2)}  # of width and depth
EPSILON = 1e-3
ENCODER_MOMENTUM = 0.95


@dataclass(frozen=True)
class Block:
    """One inverted residual block (MobileNetV2) of the encoder."""

    kernel: int
    stride: int
    expanded: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class LiteUNet:
    """`number`: which EfficientNet-Lite; `neck`: channels at stride 32; `decoder`: channels at strides 16, 8, 4, 2.

    `thinned`: channels of the first blocks' expansions, which work at the highest resolutions; 0: the usual number.
    """

    number: int
    neck: int
    decoder: tuple[int, int, int, int]
    thinned: tuple[int, ...] = ()

    def build(self, classes: int, size: int) -> keras.Model:
        """float32[n,size,size,3] in [-1, 1] → float32[n,size,size,classes] logits. `size`: a multiple of 32."""
        image = keras.Input((size, size, 3), name="image")
        *skips, deepest = self._encode(image)
        x = convolved(deepest, self.neck, 1, "neck")
        for channels, skip, stride in zip(self.decoder, reversed(skips), reversed(STRIDES[:-1]), strict=True):
            x = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"up{stride}")(x)
            x = keras.layers.Concatenate(name=f"cat{stride}")([x, skip])
            x = convolved(x, channels, 3, f"d{stride}")
        quads = keras.layers.Conv2D(4 * classes, 3, padding="same", name="head", dtype="float32")(x)
        return keras.Model(image, DepthToSpace(name="logits", dtype="float32")(quads), name="lite_unet")

    def for_cpu(self, network: keras.Model) -> Callable[[Any], Any]:
        """The same function as `network` in inference mode, with BatchNorms folded away."""
        return folded_forward(network)

    def imagenet(self, _size: int) -> Named:
        """The encoder's ImageNet weights. Raises ValueError, in one line, if they cannot be fetched."""
        return imagenet.lite(self.number)

    def blocks(self) -> list[Block]:
        width, depth = MULTIPLIERS[self.number]
        blocks = []
        inputs = STEM
        for index, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            ends = index in (0, len(STAGES) - 1)  # neither the first nor the last stage gets deeper
            outputs = _widened(channels, width)
            for repeat in range(repeats if ends else math.ceil(repeats * depth)):
                blocks.append(Block(kernel, stride if repeat == 0 else 1, inputs * expansion, inputs, outputs))
                inputs = outputs
        thinned = dict(zip(range(len(blocks)), self.thinned, strict=False))
        return [replace(block, expanded=thinned.get(i) or block.expanded) for i, block in enumerate(blocks)]

    def _encode(self, image: keras.KerasTensor) -> list[keras.KerasTensor]:
        """The last features of strides 2, 4, 8, 16 and 32."""
        x = keras.layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(image)
        x = keras.layers.ReLU(6, name="stem_out")(_normalised(x, "stem_bn"))
        features, stride = {}, 2
        for index, block in enumerate(self.blocks()):
            x = _inverted_residual(x, block, f"b{index}_")
            stride *= block.stride
            features[stride] = x
        return [features[stride] for stride in STRIDES]


@keras.saving.register_keras_serializable("segue")
class DepthToSpace(keras.layers.Layer):  # type: ignore[misc]
    """[n,h,w,4c] → [n,2h,2w,c]: channel (2 dy + dx) c + k of a pixel is channel k of its quarter (dy, dx)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.depth_to_space(x, 2)


def _inverted_residual(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    y = x
    if block.expanded != block.inputs:
        y = keras.layers.Conv2D(block.expanded, 1, use_bias=False, name=f"{name}expand")(y)
        y = keras.layers.ReLU(6, name=f"{name}expand_out")(_normalised(y, f"{name}bn0"))
    y = keras.layers.DepthwiseConv2D(
        block.kernel, strides=block.stride, padding="same", use_bias=False, name=f"{name}dw"
    )(y)
    y = keras.layers.ReLU(6, name=f"{name}dw_out")(_normalised(y, f"{name}bn1"))
    y = keras.layers.Conv2D(block.outputs, 1, use_bias=False, name=f"{name}project")(y)
    y = _normalised(y, f"{name}bn2")
    same = block.stride == 1 and block.inputs == block.outputs
    return keras.layers.Add(name=f"{name}add")([y, x]) if same else y


def _normalised(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=EPSILON, momentum=ENCODER_MOMENTUM, name=name)(x)


def _widened(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 that loses at most a tenth (EfficientNet's rule)."""
    exact = channels * width
    nearest = max(8, int(exact + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * exact else nearest
