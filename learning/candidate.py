"""Trains a candidate on a data set version, on this machine. This module imports TensorFlow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from learning.checkpoints import Checkpoints
from model import train as training
from model.card import Card
from model.data import examples
from model.evaluate import figures
from model.evaluation.photos import judge
from model.export import Source
from model.export import export as export_version
from model.segmenter import Segmenter
from model.training.recipe import Recipe
from storage.training.datasets import Split
from storage.training.submitting import TrainParameters

RECIPES = Path(training.__file__).parent / "recipes"


def recipe(wanted: TrainParameters, start: Path) -> Recipe:
    """The recipe, with network and weights of the version in the folder `start`. Raises ValueError in one line."""
    path = RECIPES / f"{Path(wanted.recipe).name}.toml"
    if not path.is_file():
        raise ValueError(f"unknown recipe: {wanted.recipe}")
    card = Card.load(start)
    of_start = {"network": card.network, "size": card.input_size, "start": training.of_version(start).model_dump()}
    return Recipe.load(path, start, **{**of_start, **wanted.changes})


def train(chosen: Recipe, data: Path, checkpoints: Checkpoints) -> None:
    """Train in the checkpoints' folder, from the newest checkpoint on."""
    checkpoints.restore()
    training.train(chosen, data, checkpoints.folder, checkpoints)


def export(run: Path, data: Path, out: Path, origin: dict[str, str]) -> None:
    """Make the version `out` (.../{name}/{version}). `origin`: added to the card's `training`."""
    card = export_version(Source.of(run), data, out)
    replace(card, training={**card.training, **origin}).save(out)


def measure(version: Path, data: Path, beat: Callable[[], None]) -> None:
    """Write the int8 engine's figures on the validation and test photos into the card; none on the gate photos."""
    segmenter = Segmenter(version, "litert")
    found = {}
    for split in (Split.VALIDATION, Split.TEST):
        if pairs := examples(data, split):
            found[split.value] = figures(judge(segmenter, pairs, own_size=False), segmenter.card)
            beat()
    replace(segmenter.card, metrics={"litert": found}).save(version)
