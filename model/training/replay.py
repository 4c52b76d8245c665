"""Chooses the photos of an epoch: corrections, and photos of the base so that the network does not forget them."""

import zlib
from collections.abc import Sequence

import numpy as np

from model.data import Example
from model.training.recipe import Recipe


def epoch_photos(recipe: Recipe, pairs: Sequence[Example], corrections: Sequence[Example], epoch: int) -> list[Example]:
    """All photos once; or, with `recipe.epoch_photos`, that many: corrections, and a replay of the others.

    A function of (seed, epoch), so that a resumed run continues as if it had not stopped.
    """
    if recipe.epoch_photos is None:
        return list(pairs)
    rng = np.random.default_rng((recipe.seed, epoch, zlib.crc32(b"replay")))
    corrected = {pair.name for pair in corrections}
    others = [pair for pair in pairs if pair.name not in corrected]
    wanted = round(recipe.epoch_photos * recipe.corrections) if corrections and others else 0
    if corrections and not others:
        wanted = recipe.epoch_photos
    return [*_drawn(rng, corrections, wanted), *_drawn(rng, others, recipe.epoch_photos - wanted)]


def _drawn(rng: np.random.Generator, pairs: Sequence[Example], count: int) -> list[Example]:
    """`count` of the pairs in a random order; no pair is repeated before all have been drawn."""
    rounds = -(-count // len(pairs)) if pairs else 0
    order = [index for _ in range(rounds) for index in rng.permutation(len(pairs))]
    return [pairs[index] for index in order[:count]]
