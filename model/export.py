"""Turns trained weights into a model version: the engines' files, the list of training photos, and the card.

    make export        # var/training/unet.weights.h5, data.json → model/weights/pets/{version}/

Two exact rewrites prepare the network for the CPU engine. BatchNorms are folded away (model/fold.py). Each
Conv2DTranspose becomes four small dense convolutions whose outputs are interleaved (depth_to_space), because the
output pixels of each parity see their own taps of the 3x3 kernel. LiteRT runs these several times faster than its
transposed convolution. In the last layer, which has few channels, the four become one.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.card import Card, sha256
from model.data import MANIFEST, Example, examples, labels_of, squeezed
from model.engines import ENGINES
from model.fold import Floats, folded
from model.unet import INPUT_SIZE, load_unet, save_float16

CALIBRATION_PHOTOS = 200


def phases(kernel: Floats) -> list[tuple[Floats, int, int]]:
    """kernel[3,3,out,in] of a stride-2 transposed convolution → four (kernel[kh,kw,in,out], pad top, pad left).

    Output row 2m sums input rows m - 1 (tap 2) and m (tap 0), row 2m + 1 only row m (tap 1); columns alike.
    """
    taps = ((2, 0), (1,))
    dense = np.transpose(kernel, (0, 1, 3, 2))
    return [(dense[list(rows)][:, list(columns)], len(rows) - 1, len(columns) - 1) for rows in taps for columns in taps]


def transposed_by_phases(x: tf.Tensor, kernel: Floats, bias: Floats, activation: Callable[..., tf.Tensor]) -> tf.Tensor:
    """n x n x in → 2n x 2n x out, equal to Conv2DTranspose(3, strides=2, padding="same") with `bias`."""
    parts = [
        activation(tf.nn.conv2d(x, taps, 1, [[0, 0], [top, 0], [left, 0], [0, 0]]) + bias)
        for taps, top, left in phases(kernel)
    ]
    return tf.nn.depth_to_space(tf.concat(parts, -1), 2)


def transposed_at_once(x: tf.Tensor, kernel: Floats, bias: Floats) -> tf.Tensor:
    """The same function as one 2x2 convolution with 4 x out channels, with zeros for the taps that a phase lacks.

    It has 16 taps instead of 9, yet takes half the time if `out` is small: a convolution takes the time of the next
    multiple of 16 channels.
    """
    channels = kernel.shape[2]
    taps = np.zeros((2, 2, kernel.shape[3], 4 * channels), np.float32)
    for index, (phase, top, left) in enumerate(phases(kernel)):
        taps[1 - top :, 1 - left :, :, index * channels : (index + 1) * channels] = phase
    merged = tf.nn.conv2d(x, taps, 1, [[0, 0], [1, 0], [1, 0], [0, 0]]) + np.tile(bias, 4)
    return tf.nn.depth_to_space(merged, 2)


def rewritten(unet: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same function as `unet` in inference mode, BatchNorms folded and the decoder split into phases."""
    plain = folded(unet)
    encoder = plain.get_layer("encoder")
    transposed = [layer for layer in plain.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    *blocks, (last_kernel, last_bias) = [layer.get_weights() for layer in transposed]

    def forward(image: tf.Tensor) -> tf.Tensor:
        *skips, x = encoder(image, training=False)
        for (kernel, bias), skip in zip(blocks, reversed(skips), strict=True):
            x = tf.concat([transposed_by_phases(x, kernel, bias, tf.nn.relu), skip], -1)
        return transposed_at_once(x, last_kernel, last_bias)

    return forward


def to_int8(unet: keras.Model, photos: Iterator[Floats]) -> bytes:
    """An int8 LiteRT file: uint8[n,128,128,3] pixels in, int8[n,128,128,classes] logits out.

    `photos`: float32[1,128,128,3] in [-1, 1], real photos, to measure the value ranges.
    """
    shape = tf.TensorSpec((1, INPUT_SIZE, INPUT_SIZE, 3), tf.float32)
    # Without freezing, the file would hold no weights.
    frozen = convert_variables_to_constants_v2(tf.function(rewritten(unet)).get_concrete_function(shape))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([photo] for photo in photos)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    content: bytes = converter.convert()
    (entry,) = tf.lite.Interpreter(model_content=content).get_input_details()
    scale, zero = entry["quantization"]
    # A pixel p must stand for p / 127.5 - 1, so that the engine can take pixels unchanged.
    if abs(scale * 127.5 - 1) > 0.01 or zero not in (127, 128):
        raise ValueError(f"the input's range is not [-1, 1]: scale {scale}, zero point {zero}")
    return content


def calibration_photos(pairs: list[Example]) -> Iterator[Floats]:
    for photo, _ in squeezed(pairs[:: max(1, len(pairs) // CALIBRATION_PHOTOS)], INPUT_SIZE):
        pixels = photo[None].astype(np.float32) / np.float32(127.5) - 1
        # Each photo spans the whole range, so that the input's scale is exactly that of pixels.
        pixels[0, 0, 0], pixels[0, 0, 1] = -1, 1
        yield pixels


def export(weights: Path, data: Path, out: Path) -> Card:
    """Make the version `out` (.../{name}/{version}) from a weights file and the data.json beside it.

    `data`: the training folder; it supplies the labels and the calibration photos.
    """
    labels = labels_of(data)
    manifest = json.loads((weights.parent / MANIFEST).read_text())
    unet = load_unet(weights, len(labels))
    out.mkdir(parents=True, exist_ok=True)
    (out / ENGINES["litert"].file).write_bytes(to_int8(unet, calibration_photos(examples(data, "train"))))
    save_float16(unet, out / ENGINES["tensorflow"].file)
    shutil.copyfile(weights.parent / MANIFEST, out / MANIFEST)
    card = Card(
        name=out.parent.name,
        version=out.name,
        input_size=INPUT_SIZE,
        labels=labels,
        files={name: sha256(out / name) for name in (*(kind.file for kind in ENGINES.values()), MANIFEST)},
        trained_on=f"{manifest['source']}: {len(manifest['photos'])} photos, listed in {MANIFEST}",
    )
    card.save(out)
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    parser.add_argument("--weights", type=Path, default=Path("var/training/unet.weights.h5"))
    parser.add_argument("--out", type=Path, default=Path("model/weights/pets/2"), help=".../{name}/{version}")
    options = parser.parse_args()
    for name in export(options.weights, options.data, options.out).files:
        print(f"{options.out / name}: {(options.out / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
