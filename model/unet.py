"""The network: a MobileNetV2 encoder and an upsampling decoder with skips (U-Net).

As in TensorFlow's image-segmentation tutorial (https://www.tensorflow.org/tutorials/images/segmentation):
encoder of Sandler et al. 2018 (arXiv:1801.04381), skips of Ronneberger et al. 2015 (arXiv:1505.04597), decoder
blocks of pix2pix (Isola et al. 2017, arXiv:1611.07004).

    python -c "import model.unet as u; print(u.build_unet(classes=3).count_params())"   # 6504227
"""

from pathlib import Path

import keras

INPUT_SIZE = 128
SKIPS = (
    "block_1_expand_relu",  # 64x64x96
    "block_3_expand_relu",  # 32x32x144
    "block_6_expand_relu",  # 16x16x192
    "block_13_expand_relu",  # 8x8x576
)
BOTTLENECK = "block_16_project"  # 4x4x320
DECODER_FILTERS = (512, 256, 128, 64)
# Keras' default of 0.99 does not settle within the few hundred steps an epoch of a small data set has.
DECODER_BATCHNORM_MOMENTUM = 0.9


def build_encoder(weights: str | None = None) -> keras.Model:
    """MobileNetV2 without its classifier, 128x128x3 in [-1, 1] → 4x4x1280.

    `weights`: None (random), "imagenet" (Keras fetches them) or the path of a Keras weights file.
    """
    return keras.applications.MobileNetV2(input_shape=(INPUT_SIZE, INPUT_SIZE, 3), include_top=False, weights=weights)


def build_unet(classes: int, encoder: keras.Model | None = None) -> keras.Model:
    """float32[n,128,128,3] in [-1, 1] → float32[n,128,128,classes] logits."""
    encoder = encoder or build_encoder()
    features = keras.Model(
        encoder.input,
        [encoder.get_layer(name).output for name in (*SKIPS, BOTTLENECK)],
        name="encoder",
    )
    image = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), name="image")
    *skips, x = features(image)  # x: 4x4x320
    for filters, skip in zip(DECODER_FILTERS, reversed(skips), strict=True):
        x = _upsample(filters, x)
        x = keras.layers.Concatenate()([x, skip])  # 8x8x1088, 16x16x448, 32x32x272, 64x64x160
    logits = keras.layers.Conv2DTranspose(classes, 3, strides=2, padding="same", name="logits")(x)
    return keras.Model(image, logits, name="unet")


def layers(network: keras.Model) -> list[keras.layers.Layer]:
    """All layers, including those of nested networks."""
    return [
        inner for layer in network.layers for inner in (layers(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def load_unet(path: Path, classes: int) -> keras.Model:
    """The network with the weights of a Keras weights file. Raises ValueError, in one line, if they do not fit."""
    unet = build_unet(classes)
    try:
        unet.load_weights(path)
    except (OSError, KeyError):
        raise ValueError("is not a Keras weights file") from None
    except ValueError:
        raise ValueError(f"holds weights of another network than the one with {classes} classes") from None
    return unet


def save_float16(unet: keras.Model, path: Path) -> None:
    """Saves the weights at half the size; a float32 network loads them unchanged."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        half = build_unet(unet.output_shape[-1])
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(unet.get_weights())
    half.save_weights(path)


def _upsample(filters: int, x: keras.KerasTensor) -> keras.KerasTensor:
    """n x n x c → 2n x 2n x filters."""
    x = keras.layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=DECODER_BATCHNORM_MOMENTUM)(x)
    return keras.layers.ReLU()(x)
