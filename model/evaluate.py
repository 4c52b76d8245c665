"""How good a model version is, through the engine that serves it.

make evaluate      # official test photos at network size, full-size photos at theirs; writes the card's metrics
"""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.card import Card
from model.data import Example, examples, full_size_examples, squeezed
from model.segmenter import Segmenter

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Scores:
    """From confusion[truth, prediction] in pixels, over all photos together."""

    confusion: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterator[Pair], classes: int) -> "Scores":
        """Pairs of (truth, prediction), uint8 class ids of one shape."""
        confusion = np.zeros(classes * classes, np.int64)
        for truth, prediction in pairs:
            flat = truth.astype(np.int64).ravel() * classes + prediction.ravel()
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


def at_network_size(segmenter: Segmenter, pairs: list[Example]) -> Iterator[Pair]:
    for photo, truth in squeezed(pairs, segmenter.card.input_size):
        yield truth, segmenter.engine.logits(photo[None])[0].argmax(-1).astype(np.uint8)


def at_full_size(segmenter: Segmenter, pairs: list[Example]) -> Iterator[Pair]:
    for pair in pairs:
        photo, truth = pair.open()
        yield np.asarray(truth), segmenter.masks([photo])[0]


def evaluate(folder: Path, data: Path) -> dict[str, Any]:
    """The metrics of the version in `folder` on the photos under `data`."""
    segmenter = Segmenter(folder)
    names = [label.name for label in segmenter.card.labels]
    test, full = examples(data, "test"), full_size_examples(data)
    metrics: dict[str, Any] = {"engine": "litert int8"}
    small = Scores.of(at_network_size(segmenter, test), len(names))
    metrics["test"] = small.to_dict(names, len(test))
    if full:
        metrics["full_size"] = Scores.of(at_full_size(segmenter, full), len(names)).to_dict(names, len(full))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    parser.add_argument("--version", type=Path, default=Path("model/weights/pets/1"))
    parser.add_argument("--write", action="store_true", help="write the metrics into the card")
    options = parser.parse_args()
    metrics = evaluate(options.version, options.data)
    if options.write:
        replace(Card.load(options.version), metrics=metrics).save(options.version)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
