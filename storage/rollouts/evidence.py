"""Evidence that may be looked at after every job: e-values for counts.

A test counts events, each of which is a hit or not. Its null hypothesis is that each event is a hit with a probability
of at most `at_most`, whatever the events before it were. If the hypothesis is true, the probability that the evidence
ever reaches 1/α is at most α (Ville's inequality), so it may be looked at as often as one likes.

The evidence is the mean of likelihood ratios. Each belongs to an alternative in which the odds of a hit are some ratio,
SMALLEST to LARGEST, times those of `at_most`. Source: H. Robbins, "Statistical methods related to the law of the
iterated logarithm", 1970; for conditional counts of an experiment, M. Lindon and A. Malek, "Anytime-valid inference for
multinomial count data", 2022.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SMALLEST, LARGEST, ALTERNATIVES = 1.1, 1000.0, 24
_LOG_RATIOS = tuple(
    math.log(SMALLEST) + math.log(LARGEST / SMALLEST) * index / (ALTERNATIVES - 1) for index in range(ALTERNATIVES)
)
MOST_SHOWN = 1e9
MOST_EVENTS = 10_000_000  # if `missing` needed more, it returns None


@dataclass(frozen=True)
class Tally:
    """`hits` of `events`. `at_most`: the probability of a hit under the null hypothesis, 0 < `at_most` < 1."""

    hits: int
    events: int
    at_most: float


def log_evidence(tallies: Iterable[Tally]) -> float:
    """The natural logarithm of the e-value of these tallies together, for example one per step; 0 without events."""
    found = list(tallies)
    return log_average([sum(_log_ratio(tally, ratio) for tally in found) for ratio in _LOG_RATIOS])


def log_average(log_evidences: Sequence[float]) -> float:
    """The logarithm of the mean of e-values. The mean is an e-value too, so the tests share one error probability."""
    largest = max(log_evidences)
    return largest + math.log(sum(math.exp(one - largest) for one in log_evidences) / len(log_evidences))


def e_value(log_evidence: float) -> float:
    """The evidence itself, at most MOST_SHOWN: a larger figure would say no more, and would soon overflow."""
    return math.exp(min(log_evidence, math.log(MOST_SHOWN)))


def missing(tally: Tally, log_wanted: float, hit_rate: float) -> int | None:
    """How many more events the evidence needs to reach `log_wanted`, if the share `hit_rate` of them are hits.

    Precise to 1 %. None: at that rate, it never will, or only after MOST_EVENTS.
    """

    def suffices(more: int) -> bool:
        later = Tally(tally.hits + round(more * hit_rate), tally.events + more, tally.at_most)
        return log_evidence([later]) >= log_wanted

    if suffices(0):
        return 0
    if hit_rate <= tally.at_most:
        return None
    too_few, enough = 0, 1
    while not suffices(enough):
        too_few, enough = enough, enough * 2
        if enough > MOST_EVENTS:
            return None
    while enough - too_few > max(1, enough // 100):
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if suffices(middle) else (middle, enough)
    return enough


def _log_ratio(tally: Tally, log_ratio: float) -> float:
    """The log likelihood of the tally if the odds are `exp(log_ratio)` times as high, minus that of `at_most`."""
    normaliser = math.log1p(tally.at_most * math.expm1(log_ratio))
    return tally.hits * log_ratio - tally.events * normaliser
