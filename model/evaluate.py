"""Measures a model version: each engine, on the gate photos, the test photos, and photos at their full size.

make evaluate                                        # the shipped version; JSON
make evaluate ARGS="--against model/weights/pets/2"  # paired differences and the ratio of CPU times as well
make evaluate ARGS="--table --sheets var/sheets"     # a table, and contact sheets of the best and worst photos
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from model.card import Card
from model.data import Example, examples, full_size_examples, squeezed
from model.engines import ENGINES, installed
from model.evaluation import bootstrap
from model.evaluation.photos import Judged, ids, judge
from model.evaluation.pictures import contact_sheet
from model.guarantee import coverage
from model.segmenter import Segmenter

SHIPPED = Path("model/weights/pets/3")
SHOWN = 12  # photos on a contact sheet
TIMED, ROUNDS, BATCH = 32, 9, 4
SETS = ("gate", "test", "test_own_size", "full_size")
CHUNK = 16
SMALLEST_GROUP = 5  # photos; the scores of fewer say little

Sets = dict[str, Judged]


@dataclass(frozen=True)
class Data:
    """`root`: the folder with the gate and the test photos; `full_size`: the one with photos of original size."""

    root: Path
    full_size: Path


def sets(data: Data) -> dict[str, tuple[list[Example], bool]]:
    """Name → (photos, whether they are measured at their own size) of all sets."""
    test = examples(data.root, "test")
    pairs = (examples(data.root, "gate"), test, test, full_size_examples(data.full_size))
    return {name: (some, name.endswith("size")) for name, some in zip(SETS, pairs, strict=True) if some}


def measure(segmenter: Segmenter, data: Data) -> Sets:
    return {name: judge(segmenter, pairs, own_size) for name, (pairs, own_size) in sets(data).items()}


def evaluate(folder: Path, data: Data) -> dict[str, Any]:
    """The metrics of the version in `folder` on the photos under `data`: engine → set → figures.

    `agreement` is that with the TensorFlow engine, `guarantee` the coverage of the inner and outer masks, both on the
    test photos.
    """
    metrics: dict[str, Any] = {}
    reference, test = Segmenter(folder, "tensorflow"), examples(data.root, "test")
    for engine in installed():
        segmenter = Segmenter(folder, engine)
        metrics[engine] = {name: figures(judged, segmenter.card) for name, judged in measure(segmenter, data).items()}
        if engine == "litert":  # for which the thresholds were fitted
            metrics[engine]["guarantee"] = coverage(segmenter, test)
        metrics[engine]["agreement"] = round(agreement(segmenter, reference, test), 5)
    return metrics


def agreement(first: Segmenter, second: Segmenter, pairs: list[Example]) -> float:
    """The share of pixels, at the network's size, to which both engines give the same class."""
    same = []
    for start in range(0, len(pairs), CHUNK):
        chosen = squeezed(pairs[start : start + CHUNK], first.card.input_size)
        photos = np.stack([photo for photo, _ in chosen])
        same.append(ids(first.engine.logits(photos)) == ids(second.engine.logits(photos)))
    return float(np.concatenate(same).mean())


def figures(judged: Judged, card: Card) -> dict[str, Any]:
    names = [label.name for label in card.labels]
    groups = {name: scores.mean_iou for name, scores in judged.groups(SMALLEST_GROUP).items()}
    figures = judged.scores.to_dict(names, len(judged.names)) | {
        "interval": bootstrap.mean_iou(judged).to_dict(),
        "boundary_f": round(float(judged.boundary.mean()), 4),
    }
    if judged.calibration.any():
        figures["calibration_error"] = round(judged.expected_calibration_error, 4)
    if len(groups) > 1:
        figures["groups"] = {name: round(value, 4) for name, value in sorted(groups.items())}
        figures["worst_group"] = round(min(groups.values()), 4)
    return figures


def against(folder: Path, other: Path, data: Data) -> dict[str, Any]:
    """Mean IoU of the version in `folder` minus that of `other`, set by set, and how their CPU times compare."""
    new, old = Segmenter(folder), Segmenter(other)
    before, after = measure(old, data), measure(new, data)
    differences = {name: bootstrap.difference(before[name], after[name]).to_dict() for name in after}
    return {"version": old.card.id, "mean_iou": differences, "cpu": cpu_ratio(new, old)}


def cpu_ratio(new: Segmenter, old: Segmenter) -> dict[str, float]:
    """CPU ms per image of both engines, in turns on the same core, and the median of the rounds' ratios."""
    rounds = []
    for _ in range(ROUNDS):
        rounds.append([_cpu_ms(segmenter) for segmenter in (new, old)])
    return {
        "ms": round(median(first for first, _ in rounds), 2),
        "ms_of_other": round(median(second for _, second in rounds), 2),
        "ratio": round(median(first / second for first, second in rounds), 3),
    }


def sheets(folder: Path, segmenter: Segmenter, data: Data) -> None:
    """Write contact sheets of the best and the worst photos of each set into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (pairs, own_size) in sets(data).items():
        scores = judge(segmenter, pairs, own_size).per_photo()
        order = np.argsort(scores)
        for title, chosen in (("worst", order[:SHOWN]), ("best", order[::-1][:SHOWN])):
            rows = []
            for index in chosen:
                photo, truth = pairs[index].open()
                (mask,) = segmenter.masks([photo])
                rows.append((f"{pairs[index].name}  {scores[index]:.2f}", photo, np.asarray(truth), mask))
            contact_sheet(folder / f"{name}-{title}.jpg", rows, segmenter.card.labels)


def table(metrics: dict[str, Any], card: Card) -> Iterator[str]:
    """The metrics as the rows of a Markdown table."""
    names = [label.name for label in card.labels]
    yield f"| engine | photos | mean IoU (95 %) | {' | '.join(names)} | accuracy | boundary F | ECE | worst group |"
    yield "|---" * (len(names) + 7) + "|"
    for engine, found in metrics.items():
        for name, one in ((name, one) for name, one in found.items() if name in SETS):
            low, high = one["interval"]["low"], one["interval"]["high"]
            yield (
                f"| {ENGINES[engine].title} | {name}, {one['photos']} | {one['mean_iou']:.3f} ({low:.3f}-{high:.3f}) | "  # type: ignore[index]
                f"{' | '.join(format(one['iou'][label], '.3f') for label in names)} | {one['accuracy']:.3f} | "
                f"{one['boundary_f']:.3f} | {one.get('calibration_error', '')} | {one.get('worst_group', '')} |"
            )


def _cpu_ms(segmenter: Segmenter) -> float:
    side = segmenter.card.input_size
    images = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    started = time.process_time()
    for _ in range(TIMED // BATCH):
        segmenter.engine.logits(images)
    return (time.process_time() - started) * 1000 / TIMED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument("--full-size", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    parser.add_argument("--version", type=Path, default=SHIPPED)
    parser.add_argument("--against", type=Path, help="compare with this version, photo by photo")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--table", action="store_true", help="print a table instead of JSON")
    parser.add_argument("--write", action="store_true", help="write the metrics into the card")
    options = parser.parse_args()
    card, data = Card.load(options.version), Data(options.data, options.full_size)
    metrics = evaluate(options.version, data)
    if options.write:
        replace(card, metrics=metrics).save(options.version)
    print("\n".join(table(metrics, card)) if options.table else json.dumps(metrics, indent=2))
    if options.against:
        print(json.dumps(against(options.version, options.against, data), indent=2))
    if options.sheets:
        sheets(options.sheets, Segmenter(options.version), data)


if __name__ == "__main__":
    main()
