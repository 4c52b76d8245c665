"""Compares the photos of a window with the training photos: how far they are apart, and how sure that is.

Decision 32 gives the reasons and the simulated error rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lgamma, log

from storage.inputs.profile import Bins, Profile

# The usual reading of the population stability index: below 0.1 no shift, from 0.2 on a significant one
# (Siddiqi, "Credit Risk Scorecards", 2006; Yurdakul and Naranjo, Journal of Risk Model Validation 14(4), 2020).
PSI_DRIFT = 0.2
# Of all features together: the probability that a window, looked at after every photo, shows a drift by chance.
ERROR_BUDGET = 0.01
SMOOTHING = 0.5  # photos added to each bin, so that an empty one has a logarithm

Counts = Sequence[int]


@dataclass(frozen=True)
class FeatureDrift:
    """One feature of the photos in a window.

    `psi`, `evidence`: None if the training photos do not show the feature. `evidence`: the decimal logarithm of the
    e-value, that is, how many times likelier these photos are under another distribution than under the training's.
    """

    name: str
    bins: Bins
    counts: tuple[int, ...]
    psi: float | None = None
    evidence: float | None = None
    drifts: bool = False


def compare(profile: Profile, counted: Mapping[str, Counts]) -> list[FeatureDrift]:
    """All features of the profile, in its order. `counted`: feature → photos in each bin."""
    tested = sum(bool(bins.counts) for bins in profile.features.values())
    required = log(max(1, tested) / ERROR_BUDGET)
    return [_feature(name, bins, counted.get(name, ()), required) for name, bins in profile.features.items()]


def _feature(name: str, bins: Bins, counted: Counts, required: float) -> FeatureDrift:
    counts = tuple(counted) or (0,) * len(bins)
    if not bins.counts:
        return FeatureDrift(name, bins, counts)
    shift, sure = psi(bins.counts, counts), log_e_value(bins, counts)
    return FeatureDrift(name, bins, counts, shift, sure / log(10), shift >= PSI_DRIFT and sure >= required)


def psi(expected: Counts, actual: Counts) -> float:
    """The population stability index of two lists of counts, with SMOOTHING; 0 without photos."""
    if not sum(expected) or not sum(actual):
        return 0.0
    shares = zip(_shares(expected), _shares(actual), strict=True)
    return sum((after - before) * log(after / before) for before, after in shares)


def _shares(counts: Counts) -> list[float]:
    total = sum(counts) + SMOOTHING * len(counts)
    return [(count + SMOOTHING) / total for count in counts]


def log_e_value(bins: Bins, counts: Counts) -> float:
    """The natural logarithm of the evidence that the photos do not come from the training's distribution.

    A ratio of two Dirichlet-multinomial probabilities of the same photos, as in Lindon and Malek, "Anytime-valid
    inference for multinomial count data" (NeurIPS 2022). The alternative gives every distribution over the bins the
    same density. The null is not one known distribution, since the training photos are a sample too: given edges
    that are order statistics of n training photos, the true probabilities of the bins have a Dirichlet distribution
    with the numbers of gaps between photos as parameters, whatever the feature's distribution is (David and Nagaraja,
    "Order Statistics", 2003). A bin has as many gaps as photos, the first one has one more. Thus the e-value is
    a martingale under the null that starts at 1, and exceeds 1/α at any time with a probability of at most α.
    Categories are no order statistics; there the null is the posterior after Jeffreys' prior.
    """
    if bins.categories:
        null = [count + 0.5 for count in bins.counts]
    else:
        null = [float(count) for count in (bins.counts[0] + 1, *bins.counts[1:])]
    return _log_probability(counts, [1.0] * len(counts)) - _log_probability(counts, null)


def _log_probability(counts: Counts, parameters: Sequence[float]) -> float:
    """Of a sequence of photos with these counts, under a Dirichlet-multinomial distribution."""
    total = sum(parameters)
    return (
        lgamma(total)
        - lgamma(total + sum(counts))
        + sum(lgamma(one + count) - lgamma(one) for one, count in zip(parameters, counts, strict=True) if count)
    )
