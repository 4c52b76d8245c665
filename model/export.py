"""Turns trained weights into a model version: the engines' files, the list and profile of its photos, and the card.

make export        # var/training/run → model/weights/pets/{version}/
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model.card import CARD, Card, sha256
from model.data import MANIFEST, Example, examples, labels_of, squeezed
from model.engines import ENGINES
from model.guarantee import fit
from model.images import to_network
from model.inputs import INPUTS, profile, training_photos
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
        pixels = to_network(photo[None])
        # Each photo spans the whole range, so that the input's scale is exactly that of pixels.
        pixels[0, 0, 0], pixels[0, 0, 1] = -1, 1
        yield pixels


@dataclass(frozen=True)
class Source:
    """What is exported: a network's name, input size, weights, recipe, and the list of its training photos."""

    network: str
    size: int
    weights: Path
    training: dict[str, Any]
    manifest: Path

    @classmethod
    def of(cls, folder: Path) -> "Source":
        """From the folder of a training run, or of a version that is exported again."""
        if (folder / CARD).is_file():
            card, weights = Card.load(folder), folder / ENGINES["tensorflow"].file
            return cls(card.network, card.input_size, weights, card.training, folder / MANIFEST)
        recipe = Recipe.model_validate_json((folder / RECIPE).read_text())
        return cls(recipe.network, recipe.size, folder / WEIGHTS, recipe.to_card(), folder / MANIFEST)


def export(source: Source, data: Path, out: Path) -> Card:
    """Make the version `out` (.../{name}/{version}).

    `data`: the training folder; it supplies the labels, the calibration photos, the validation photos for the
    thresholds, and the training photos for the profile.
    """
    labels, manifest = labels_of(data), json.loads(source.manifest.read_text())
    network = load(source.weights, source.network, len(labels), source.size)
    out.mkdir(parents=True, exist_ok=True)
    photos = calibration_photos(examples(data, "train"), source.size)
    forward = NETWORKS[source.network].for_cpu(network)
    (out / ENGINES["litert"].file).write_bytes(to_int8(network, forward, photos))
    save_float16(network, source.network, out / ENGINES["tensorflow"].file)
    shutil.copyfile(source.manifest, out / MANIFEST)
    card = Card(
        name=out.parent.name,
        version=out.name,
        input_size=source.size,
        labels=labels,
        files={name: sha256(out / name) for name in (*(kind.file for kind in ENGINES.values()), MANIFEST)},
        trained_on=f"{manifest['source']}: {len(manifest['photos'])} photos, listed in {MANIFEST}",
        network=source.network,
        training=source.training,
    )
    card.save(out)
    card = replace(card, guarantee=fit(Segmenter(out), examples(data, "validation")))
    card.save(out)
    (out / INPUTS).write_text(profile(Segmenter(out), training_photos(out, data)))
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument("--run", type=Path, default=Path("var/training/run"), help="of a training run, or of a version")
    parser.add_argument("--size", type=int, help="side of the input in pixels, if not the one of the training")
    parser.add_argument("--out", type=Path, required=True, help=".../{name}/{version}")
    options = parser.parse_args()
    source = Source.of(options.run)
    source = replace(source, size=options.size or source.size)
    for name in export(source, options.data, options.out).files:
        print(f"{options.out / name}: {(options.out / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
