"""Measures a model version through each of its engines.

make evaluate      # official test photos at network size, full-size photos at theirs; writes the card's metrics
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.card import Card
from model.data import Example, examples, full_size_examples, squeezed
from model.engines import ENGINES
from model.segmenter import Segmenter

CHUNK = 16
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Scores:
    """From confusion[truth, prediction] in pixels, over all photos together."""

    confusion: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[Pair], classes: int) -> "Scores":
        """Pairs of (truth, prediction), uint8 class ids of one shape; pixels with a truth of 255 are ignored."""
        confusion = np.zeros(classes * classes, np.int64)
        for truth, prediction in pairs:
            known = truth < classes
            flat = truth[known].astype(np.int64) * classes + prediction[known]
            confusion += np.bincount(flat, minlength=classes * classes)
        return cls(confusion.reshape(classes, classes))

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class (Jaccard index)."""
        both = np.diag(self.confusion)
        return np.asarray(both / (self.confusion.sum(0) + self.confusion.sum(1) - both))

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    def to_dict(self, names: list[str], photos: int) -> dict[str, Any]:
        return {
            "photos": photos,
            "mean_iou": round(self.mean_iou, 4),
            "accuracy": round(self.accuracy, 4),
            "iou": {name: round(float(value), 4) for name, value in zip(names, self.iou, strict=True)},
        }


def at_full_size(segmenter: Segmenter, pairs: list[Example]) -> Iterator[Pair]:
    for pair in pairs:
        photo, truth = pair.open()
        yield np.asarray(truth), segmenter.masks([photo])[0]


def evaluate(folder: Path, data: Path) -> dict[str, Any]:
    """The metrics of the version in `folder` on the photos under `data`: engine → metrics.

    `agreement`: the share of the test photos' pixels whose class equals that of the network in float32 Keras.
    """
    card, test, full = Card.load(folder), examples(data, "test"), full_size_examples(data)
    names = [label.name for label in card.labels]
    pairs = list(squeezed(test, card.input_size))
    photos, truths = np.stack([photo for photo, _ in pairs]), [truth for _, truth in pairs]
    expected = predicted(reference(folder / ENGINES["tensorflow"].file, len(names)), photos)
    metrics: dict[str, Any] = {}
    for engine in ENGINES:
        segmenter = Segmenter(folder, engine)
        masks = predicted(segmenter.engine.logits, photos)
        scores = Scores.of(zip(truths, masks, strict=True), len(names))
        metrics[engine] = {
            "test": scores.to_dict(names, len(test)),
            "agreement": round(float((masks == expected).mean()), 5),
        }
        if full:
            at_full = Scores.of(at_full_size(segmenter, full), len(names))
            metrics[engine]["full_size"] = at_full.to_dict(names, len(full))
    return metrics


def predicted(logits: Logits, photos: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8[n,size,size,3] → class ids uint8[n,size,size]."""
    parts = [logits(photos[start : start + CHUNK]).argmax(-1) for start in range(0, len(photos), CHUNK)]
    return np.concatenate(parts).astype(np.uint8)


def reference(weights: Path, classes: int) -> Logits:
    """The reference for every engine: the network as Keras computes it in float32 from the shipped weights."""
    from model.unet import load_unet  # noqa: PLC0415 - the scores alone need no TensorFlow

    unet = load_unet(weights, classes)
    return lambda photos: np.asarray(unet.predict_on_batch(photos.astype(np.float32) / 127.5 - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    parser.add_argument("--version", type=Path, default=Path("model/weights/pets/2"))
    parser.add_argument("--write", action="store_true", help="write the metrics into the card")
    options = parser.parse_args()
    metrics = evaluate(options.version, options.data)
    if options.write:
        replace(Card.load(options.version), metrics=metrics).save(options.version)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
