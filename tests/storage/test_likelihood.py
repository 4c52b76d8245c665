"""How likely a mask changes, from the confidence of the old one."""

import pytest

from storage.backfill.likelihood import by_likelihood, likelihoods, limits
from storage.rollouts.counts import BINS, bin_of

NOTHING = [[0, 0]] * BINS


@pytest.mark.parametrize(
    ("confidence", "place"), [(0.1, 0), (0.5, 0), (0.5499, 0), (0.55, 1), (0.65, 3), (0.9999, 9), (1.0, 9)]
)
def test_a_confidence_belongs_to_one_bin(confidence: float, place: int) -> None:
    assert bin_of(confidence) == place
    low, high = limits(place)
    assert low <= confidence < high


def test_without_photos_the_lowest_confidence_comes_first() -> None:
    assert by_likelihood(None) == by_likelihood(NOTHING) == list(range(BINS))
    assert likelihoods(NOTHING) == [0.5] * BINS


def test_few_photos_do_not_change_the_order() -> None:
    """One photo of three has changed in the last bin, none of two in the first."""
    few = [[2, 0], *NOTHING[2:], [3, 1]]
    assert by_likelihood(few) == list(range(BINS))


def test_many_photos_change_the_order() -> None:
    many = [[1000, 10], [1000, 300], [1000, 200], *[[1000, 1]] * 7]
    assert by_likelihood(many)[:3] == [1, 2, 0]
    assert likelihoods(many)[bin_of(0.56)] == 0.3
    assert likelihoods(many)[bin_of(0.95)] == 0.001


def test_a_bin_without_photos_takes_the_rate_of_its_neighbours() -> None:
    rates = likelihoods([[500, 200], *[[500, 100]] * 4, [0, 0], *[[500, 5]] * 4])
    assert rates[4] >= rates[5] > rates[6]
    assert rates == sorted(rates, reverse=True)
