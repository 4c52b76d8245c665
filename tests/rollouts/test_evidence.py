"""The e-values: compared with closed forms, and with the exact probability that they ever exceed a limit."""

import math
from typing import Any

import numpy as np
import pytest

from storage.rollouts.evidence import ALTERNATIVES, LARGEST, SMALLEST, Tally, log_average, log_evidence, missing

RATIOS = np.geomspace(SMALLEST, LARGEST, ALTERNATIVES)


def likelihood(hits: int, events: int, probability: Any) -> Any:
    """Of one order of the hits."""
    return probability**hits * (1 - probability) ** (events - hits)


@pytest.mark.parametrize(("hits", "events", "at_most"), [(0, 0, 0.5), (3, 10, 0.1), (10, 10, 0.01), (0, 50, 0.3)])
def test_the_evidence_is_a_mixture_of_likelihood_ratios(hits: int, events: int, at_most: float) -> None:
    alternatives = RATIOS * at_most / (RATIOS * at_most + 1 - at_most)
    expected = np.mean(likelihood(hits, events, alternatives)) / likelihood(hits, events, at_most)
    assert log_evidence([Tally(hits, events, at_most)]) == pytest.approx(math.log(expected), abs=1e-9)


def test_tallies_of_several_steps_multiply_under_each_alternative() -> None:
    tallies = [Tally(2, 3, 0.01), Tally(1, 4, 0.1), Tally(5, 9, 0.5)]
    product = np.ones(ALTERNATIVES)
    for tally in tallies:
        alternatives = RATIOS * tally.at_most / (RATIOS * tally.at_most + 1 - tally.at_most)
        product *= likelihood(tally.hits, tally.events, alternatives) / likelihood(
            tally.hits, tally.events, tally.at_most
        )
    assert log_evidence(tallies) == pytest.approx(math.log(product.mean()), abs=1e-9)


@pytest.mark.parametrize("probability", [0.5, 0.3, 0.05])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_looking_after_every_event_errs_less_often_than_stated(probability: float, alpha: float) -> None:
    """Follows the exact distribution of the hits of streams that have not exceeded 1/alpha yet."""
    alive, exceeded, limit = np.array([1.0]), 0.0, 0
    for event in range(1, 1501):
        alive = np.append(alive * (1 - probability), 0.0) + np.append(0.0, alive * probability)
        # The evidence grows with the hits, and the hits that it takes grow with the events.
        while limit <= event and log_evidence([Tally(limit, event, probability)]) < -math.log(alpha):
            limit += 1
        exceeded += alive[limit:].sum()
        alive[limit:] = 0
    assert alpha / 20 < exceeded <= alpha


def test_an_average_of_evidence_is_that_of_the_e_values() -> None:
    assert log_average([math.log(400), 0.0, 0.0, 0.0]) == pytest.approx(math.log(403 / 4))
    assert log_average([1000.0, 0.0]) == pytest.approx(1000 - math.log(2))


def test_missing_events_are_those_after_which_the_evidence_suffices() -> None:
    wanted = math.log(20)
    more = missing(Tally(40, 41, 0.9), wanted, 1.0)
    assert more is not None
    assert log_evidence([Tally(40 + more, 41 + more, 0.9)]) >= wanted
    assert log_evidence([Tally(40 + more - 2, 41 + more - 2, 0.9)]) < wanted
    assert missing(Tally(200, 200, 0.9), wanted, 1.0) == 0
    assert missing(Tally(20, 40, 0.5), wanted, 0.5) is None  # at the limit itself
    assert missing(Tally(0, 0, 0.5), wanted, 0.9) is not None
