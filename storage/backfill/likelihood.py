"""Estimates from the confidence of a mask how likely it is that a new model version changes it.

The evidence comes from a rollout: photos that two versions have segmented, in the bins of storage/rollouts/counts.py.
"""

from collections.abc import Sequence

from storage.rollouts.counts import BINS, HIGHEST, LOWEST

ENOUGH = 400  # from so many photos on, a bin has its own rate: a rate of 0.1 then has a standard error of 0.015

Evidence = Sequence[Sequence[int]]  # of each bin: [photos, photos on which the versions differed]


def limits(place: int) -> tuple[float, float]:
    """The bounds of a bin of confidence: it holds the values from the first to below the second.

    A confidence is from 0 to 1, so the bounds -1 and 2 of the outer bins let them hold 0 and 1 too.
    """
    width = (HIGHEST - LOWEST) / BINS
    low, high = (round(LOWEST + width * edge, 6) for edge in (place, place + 1))
    return (low if place else -1.0), (high if place < BINS - 1 else 2.0)


def likelihoods(evidence: Evidence) -> list[float]:
    """The probability of a change in each bin.

    A bin with ENOUGH photos has its own rate. The others have the rate of an isotonic fit over all bins, which never
    rises with confidence, because the rate of a few photos would be noise. Without any photos, every bin has one half.
    """
    return [
        differing / photos if photos >= ENOUGH else expected
        for (photos, differing), expected in zip(evidence, _isotonic(evidence), strict=True)
    ]


def by_likelihood(evidence: Evidence | None) -> list[int]:
    """All bins, those with the likeliest changes first, and among equals the lowest confidence first."""
    rates = likelihoods(evidence) if evidence else [0.0] * BINS
    return sorted(range(BINS), key=lambda place: -round(rates[place], 9))


def _isotonic(evidence: Evidence) -> list[float]:
    """The best fit of rates that never rise from bin to bin: least squares, weighted by photos.

    Computed by pooling adjacent violators. A bin without photos has the rate of a neighbouring bin with photos.
    """
    pools: list[tuple[int, int, int]] = []  # photos, differing, bins
    for photos, differing in evidence:
        pool = (photos, differing, 1)
        while pools and (0 in (pool[0], pools[-1][0]) or pool[1] * pools[-1][0] > pools[-1][1] * pool[0]):
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    return [differing / photos if photos else 0.5 for photos, differing, bins in pools for _ in range(bins)]
