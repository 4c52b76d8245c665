"""How likely it is that another model version changes a mask, from the confidence of the mask.

The evidence comes from a rollout: photos that two versions have segmented, in the bins of storage/rollouts/counts.py.
"""

from collections.abc import Sequence

from storage.rollouts.counts import BINS, HIGHEST, LOWEST, bin_of

ENOUGH = 400  # photos with which a bin's own rate counts: a rate of 0.1 then has a standard error of 0.015

Evidence = Sequence[Sequence[int]]  # of each bin: [photos, photos on which the versions differed]


def limits(place: int) -> tuple[float, float]:
    """The confidences of a bin: from the first to below the second.

    A confidence is from 0 to 1; the last bin has 1, too.
    """
    width = (HIGHEST - LOWEST) / BINS
    low, high = (round(LOWEST + width * edge, 6) for edge in (place, place + 1))
    return (low if place else -1.0), (high if place < BINS - 1 else 2.0)


def change_likelihood(evidence: Evidence, confidence: float) -> float:
    """The probability that the mask changes."""
    return likelihoods(evidence)[bin_of(confidence)]


def likelihoods(evidence: Evidence) -> list[float]:
    """The probability of a change in each bin.

    A bin with ENOUGH photos has its own rate. The others have the rate of an isotonic fit over all bins, which falls
    with confidence: the rate of a few photos would be noise. Without photos, every bin has one half.
    """
    return [
        differing / photos if photos >= ENOUGH else expected
        for (photos, differing), expected in zip(evidence, _isotonic(evidence), strict=True)
    ]


def by_likelihood(evidence: Evidence | None) -> list[int]:
    """All bins, the likeliest change first; of equal ones, the lowest confidence first. None: no evidence."""
    rates = likelihoods(evidence) if evidence else [0.0] * BINS
    return sorted(range(BINS), key=lambda place: -round(rates[place], 9))


def _isotonic(evidence: Evidence) -> list[float]:
    """The rates that fall from bin to bin and fit best (pool adjacent violators; least squares, weighted by photos).

    A bin without photos has the rate of the bin before it, or else of the first with photos.
    """
    pools: list[tuple[int, int, int]] = []  # photos, differing, bins
    for photos, differing in evidence:
        pool = (photos, differing, 1)
        while pools and (0 in (pool[0], pools[-1][0]) or pool[1] * pools[-1][0] > pools[-1][1] * pool[0]):
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    return [differing / photos if photos else 0.5 for photos, differing, bins in pools for _ in range(bins)]
