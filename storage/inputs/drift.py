"""Compares the photos of a window with the training photos: how much they differ, and how sure that is.

Decision 32 gives the reasons and the simulated error rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lgamma, log

from storage.inputs.profile import Bins, Profile

# The usual reading of the population stability index: below 0.1 no shift, from 0.2 on a significant one
# (Siddiqi, "Credit Risk Scorecards", 2006; Yurdakul and Naranjo, Journal of Risk Model Validation 14(4), 2020).
PSI_DRIFT = 0.2
# For all features together: the probability that a window of unchanged photos, looked at after every photo, ever shows
# a drift.
ERROR_BUDGET = 0.01
SMOOTHING = 0.5  # photos added to each bin, because an empty one has no logarithm

Counts = Sequence[int]


@dataclass(frozen=True)
class FeatureDrift:
    """One feature of the photos in a window.

    `psi`, `evidence`: None if the profile has no counts of the feature, so that it is not compared.
    `evidence`: the decimal logarithm of the e-value. The e-value says how many times likelier these photos are under
    other distributions than under that of the training photos.
    """

    name: str
    bins: Bins
    counts: tuple[int, ...]
    psi: float | None = None
    evidence: float | None = None
    drifts: bool = False


def compare(profile: Profile, counted: Mapping[str, Counts]) -> list[FeatureDrift]:
    """Compare each feature of the profile, in its order. `counted`: feature → how many photos are in each bin."""
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
    """The natural logarithm of the evidence that the photos do not come from the distribution of the training photos.

    The evidence is the ratio of two Dirichlet-multinomial probabilities of the same photos, as in Lindon and Malek,
    "Anytime-valid inference for multinomial count data" (NeurIPS 2022). The alternative gives every distribution over
    the bins the same density. The null hypothesis is not one known distribution, because the training photos are a
    sample too. But the edges are order statistics of the training photos. So the true probabilities of the bins have
    a Dirichlet distribution, whatever the feature's distribution is; its parameters are the numbers of gaps between
    training photos in each bin (David and Nagaraja, "Order Statistics", 2003). A bin has as many gaps as training
    photos, the first bin one more. Thus the e-value is a martingale under the null hypothesis that starts at 1, and
    the probability that it ever reaches 1/α is at most α.

    Categories are not order statistics. For them, the null hypothesis is the posterior of Jeffreys' prior.
    """
    if bins.categories:
        null = [count + 0.5 for count in bins.counts]
    else:
        null = [float(count) for count in (bins.counts[0] + 1, *bins.counts[1:])]
    return _log_probability(counts, [1.0] * len(counts)) - _log_probability(counts, null)


def _log_probability(counts: Counts, parameters: Sequence[float]) -> float:
    """Of one sequence of photos with these counts, if a Dirichlet-multinomial distribution has these parameters."""
    total = sum(parameters)
    return (
        lgamma(total)
        - lgamma(total + sum(counts))
        + sum(lgamma(one + count) - lgamma(one) for one, count in zip(parameters, counts, strict=True) if count)
    )
