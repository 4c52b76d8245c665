"""Simulated windows of photos, watched after every photo."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from model.inputs import deciles
from storage.inputs.drift import ERROR_BUDGET, PSI_DRIFT, SMOOTHING
from storage.inputs.profile import Bins

FEATURES = 9  # compared ones of pets/3
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def normal(shift: float = 0.0) -> Draw:
    return lambda rng, count: rng.standard_normal(count) + shift


def tied(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Few values, as aspect ratios have."""
    return rng.choice([0.67, 0.75, 1.0, 1.33, 1.5, 1.78], count, p=[0.05, 0.2, 0.05, 0.4, 0.2, 0.1])


def profile_of(values: NDArray[np.float64]) -> Bins:
    made = deciles(values)
    return Bins(tuple(made["edges"]), counts=tuple(made["counts"]))


@dataclass(frozen=True)
class Watched:
    """After each photo: the logarithm of the e-value, float64[photos], and the PSI, float64[photos]."""

    log_e: NDArray[np.float64]
    psi: NDArray[np.float64]

    @property
    def sure(self) -> NDArray[np.bool_]:
        return self.log_e >= log(FEATURES / ERROR_BUDGET)

    @property
    def drifts(self) -> NDArray[np.bool_]:
        return self.sure & (self.psi >= PSI_DRIFT)

    @property
    def photos_needed(self) -> int | None:
        """After how many photos the drift is shown first."""
        return int(self.drifts.argmax()) + 1 if self.drifts.any() else None


def watch(bins: Bins, values: NDArray[np.float64]) -> Watched:
    """The same figures as `log_e_value` and `psi` after each photo, computed one photo at a time."""
    count, size = len(values), len(bins)
    numbers = np.searchsorted(bins.edges, values, "right")
    after = np.eye(size)[numbers].cumsum(0)
    so_far = np.arange(count)
    seen = after[so_far, numbers] - 1
    null = np.array([bins.counts[0] + 1, *bins.counts[1:]], float)
    steps = np.log((1 + seen) / (size + so_far)) - np.log((null[numbers] + seen) / (null.sum() + so_far))
    expected = (np.array(bins.counts) + SMOOTHING) / (sum(bins.counts) + SMOOTHING * size)
    actual = (after + SMOOTHING) / (so_far[:, None] + 1 + SMOOTHING * size)
    return Watched(steps.cumsum(), ((actual - expected) * np.log(actual / expected)).sum(1))


def windows(training: int, photos: int, count: int, before: Draw, now: Draw, *, seed: int) -> list[Watched]:
    """`count` windows of one feature, each with training photos of its own."""
    rng = np.random.default_rng(seed)
    return [watch(profile_of(before(rng, training)), now(rng, photos)) for _ in range(count)]
