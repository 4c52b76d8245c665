"""Turns trained weights into a model version: the engines' files, the list of training photos, and the card.

make export        # var/training/run → model/weights/pets/{version}/
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.card import Card, sha256
from model.data import MANIFEST, Example, examples, labels_of, squeezed
from model.engines import ENGINES
from model.guarantee import fit
from model.networks.registry import NETWORKS, Forward, load, save_float16
from model.segmenter import Segmenter
from model.training.loop import WEIGHTS
from model.training.recipe import RECIPE, Recipe

Floats = NDArray[np.float32]

CALIBRATION_PHOTOS = 200


def to_int8(network: keras.Model, forward: Forward, photos: Iterator[Floats]) -> bytes:
    """An int8 LiteRT file: uint8[n,size,size,3] pixels in, int8[n,size,size,classes] logits out.

    `forward`: what `Network.for_cpu` made of the network; `photos`: float32[1,size,size,3] in [-1, 1], real photos, to
    measure the value ranges.
    """
    shape = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    # Without freezing, the file would hold no weights.
    frozen = convert_variables_to_constants_v2(tf.function(forward).get_concrete_function(shape))
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


def calibration_photos(pairs: list[Example], size: int) -> Iterator[Floats]:
    for photo, _ in squeezed(pairs[:: max(1, len(pairs) // CALIBRATION_PHOTOS)], size):
        pixels = photo[None].astype(np.float32) / np.float32(127.5) - 1
        # Each photo spans the whole range, so that the input's scale is exactly that of pixels.
        pixels[0, 0, 0], pixels[0, 0, 1] = -1, 1
        yield pixels


def export(run: Path, data: Path, out: Path) -> Card:
    """Make the version `out` (.../{name}/{version}) from the folder of a training run.

    `data`: the training folder; it supplies the labels and the calibration photos.
    """
    recipe = Recipe.model_validate_json((run / RECIPE).read_text())
    labels = labels_of(data)
    manifest = json.loads((run / MANIFEST).read_text())
    network = load(run / WEIGHTS, recipe.network, len(labels), recipe.size)
    out.mkdir(parents=True, exist_ok=True)
    photos = calibration_photos(examples(data, "train"), recipe.size)
    forward = NETWORKS[recipe.network].for_cpu(network)
    (out / ENGINES["litert"].file).write_bytes(to_int8(network, forward, photos))
    save_float16(network, recipe.network, out / ENGINES["tensorflow"].file)
    shutil.copyfile(run / MANIFEST, out / MANIFEST)
    card = Card(
        name=out.parent.name,
        version=out.name,
        input_size=recipe.size,
        labels=labels,
        files={name: sha256(out / name) for name in (*(kind.file for kind in ENGINES.values()), MANIFEST)},
        trained_on=f"{manifest['source']}: {len(manifest['photos'])} photos, listed in {MANIFEST}",
        network=recipe.network,
        training=recipe.to_card(),
    )
    card.save(out)
    card = replace(card, guarantee=fit(Segmenter(out), examples(data, "gate")))
    card.save(out)
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument("--run", type=Path, default=Path("var/training/run"), help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help=".../{name}/{version}")
    options = parser.parse_args()
    for name in export(options.run, options.data, options.out).files:
        print(f"{options.out / name}: {(options.out / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
