"""Trains a network as a recipe says.

    make train                                   # model/recipes/pets.toml on the photos under SEGUE_TRAINING_DATA
    make train ARGS="--set epochs=3 --out var/training/try"
    make train ARGS="--start model/weights/pets/3"      # fine-tune a version

A killed run continues where it was when the same command starts again. The run's folder then holds the weights, the
recipe, the list of the training photos, one line an epoch (epochs.csv), and its curves.
"""

import argparse
import os
import tomllib
from pathlib import Path

import keras

from model.card import Card
from model.data import MANIFEST, examples, examples_if_listed, labels_of, manifest, training_examples
from model.engines import ENGINES
from model.training.loop import EPOCHS, Photos, Run, Watcher
from model.training.pictures import curves
from model.training.recipe import RECIPE, Recipe, Trained
from model.training.start import starting_point
from model.training.targets import soft_targets

QUIET = Watcher()


def train(recipe: Recipe, data: Path, out: Path, watcher: Watcher = QUIET) -> float:
    """Train on the photos under `data`. Returns the mean IoU of the validation photos at the best epoch.

    Raises ValueError, in one line, if the data, the recipe or the folder of the run is not usable.
    """
    keras.utils.set_random_seed(recipe.seed)
    if recipe.mixed_precision:
        keras.config.set_dtype_policy("mixed_float16")
    labels = labels_of(data)
    kept, twins = training_examples(data)
    for name, twin in twins:
        print(f"{name} is left out: {twin}, which is kept for judging, shows the same picture", flush=True)
    corrections = {pair.name for pair in examples_if_listed(data, "corrections")}
    photos = Photos(
        kept, examples(data, "validation"), len(labels), [pair for pair in kept if pair.name in corrections]
    )
    out.mkdir(parents=True, exist_ok=True)
    soft = soft_targets(recipe, photos.train, len(labels), out.parent)
    run = Run(recipe, photos, starting_point(recipe, photos.train, len(labels)), out, soft)
    (out / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n")
    (out / MANIFEST).write_text(manifest(data, photos.train))
    best = run.train(watcher)
    curves(out / EPOCHS)
    return best


def of_version(folder: Path) -> Trained:
    """A version as a starting point."""
    card = Card.load(folder)
    return Trained(
        network=card.network, size=card.input_size, weights=folder / ENGINES["tensorflow"].file,
        classes=len(card.labels),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("model/recipes/pets.toml"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument(
        "--networks", type=Path, default=Path(os.environ.get("SEGUE_NETWORKS", ".")),
        help="folder of the trained networks that the recipe names",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("var/training/run"))
    parser.add_argument("--start", type=Path, help="start from this version's folder, thinned if it is wider")
    parser.add_argument("--set", action="append", default=[], metavar="ENTRY=VALUE", help="replace an entry (TOML)")
    options = parser.parse_args()
    changes = tomllib.loads("\n".join(options.set))
    if options.start:
        changes["start"] = of_version(options.start.resolve()).model_dump()
    try:
        best = train(Recipe.load(options.recipe, options.networks, **changes), options.data, options.out)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    print(f"mean IoU {best:.4f} on the validation photos → {options.out}")


if __name__ == "__main__":
    main()
