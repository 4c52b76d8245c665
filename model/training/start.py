"""The network that a training starts from: a version, another network, or ImageNet's weights."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from model.data import Example, squeezed
from model.images import to_network
from model.networks.registry import NETWORKS, build, load
from model.networks.weights import named, read_torch, start_from
from model.training.recipe import Recipe, Trained
from model.training.thinning import thinned

CALIBRATION_PHOTOS = 256


def starting_point(recipe: Recipe, pairs: Sequence[Example], classes: int) -> keras.Model:
    """The recipe's network with the weights that it starts from.

    Raises ValueError, in one line, if weights cannot be read or do not fit.
    """
    network = build(recipe.network, classes, recipe.size)
    if recipe.start == "imagenet":
        start_from(network, NETWORKS[recipe.network].imagenet(recipe.size))
    elif recipe.start:
        wide = trained_network(recipe.start, classes)
        same = recipe.start.network == recipe.network
        start_from(network, named(wide) if same else thinned(wide, network, _photos(pairs, recipe.start.size)))
    return network


def trained_network(trained: Trained, classes: int) -> keras.Model:
    """The network with its own weights. Raises ValueError, in one line, if the file is missing or does not fit."""
    classes = trained.classes or classes
    if not trained.weights.is_file():
        raise ValueError(f"{trained.weights} does not exist")
    if trained.weights.suffix != ".npz":
        return load(trained.weights, trained.network, classes, trained.size)
    network = build(trained.network, classes, trained.size)
    if missing := start_from(network, read_torch(trained.weights)):
        raise ValueError(f"{trained.weights} has no weights that fit {missing[0]} of {trained.network}")
    return network


def _photos(pairs: Sequence[Example], size: int) -> NDArray[np.float32]:
    chosen = pairs[:: max(1, len(pairs) // CALIBRATION_PHOTOS)]
    return to_network(np.stack([photo for photo, _ in squeezed(list(chosen), size)]))
