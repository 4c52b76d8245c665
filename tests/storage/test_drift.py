"""Profiles, the two figures of a drift, and the error rate that they share."""

import itertools
import json
from collections.abc import Sequence
from math import exp, log
from statistics import median
from typing import Any

import drifting
import numpy as np
import pytest
from drifting import FEATURES, normal, profile_of, tied, windows

from storage.inputs.drift import ERROR_BUDGET, PSI_DRIFT, compare, log_e_value, psi
from storage.inputs.profile import Bins, Profile

HALVES = Bins(edges=(0.5,), counts=(1, 1))


def document(**features: Any) -> bytes:
    return json.dumps({"photos": 2, "features": features}).encode()


def test_psi_of_two_bins_by_hand() -> None:
    """Shares with half a photo more in each bin: 0.5 and 0.5; 3.5/5 and 1.5/5."""
    assert psi((1, 1), (3, 1)) == pytest.approx(0.2 * log(1.4) - 0.2 * log(0.6))
    assert psi((10, 10), (10, 10)) == 0
    assert psi((5, 5), (0, 0)) == 0


def test_the_e_value_of_one_photo_by_hand() -> None:
    """Two training photos, an edge on the second: gaps 2 and 1, so the null gives the bins 2/3 and 1/3."""
    assert exp(log_e_value(HALVES, (1, 0))) == pytest.approx((1 / 2) / (2 / 3))
    assert exp(log_e_value(HALVES, (0, 1))) == pytest.approx((1 / 2) / (1 / 3))
    assert log_e_value(HALVES, (0, 0)) == 0


def predicted(counts: Sequence[int], weights: Sequence[float]) -> float:
    """The logarithm of the probability of photos with these counts, drawn one after another from Pólya's urn."""
    urn, logarithm = list(weights), 0.0
    for index, count in enumerate(counts):
        for _ in range(count):
            logarithm += log(urn[index] / sum(urn))
            urn[index] += 1
    return logarithm


def test_the_e_value_is_that_of_two_urns() -> None:
    counts = (7, 0, 3, 2)
    bins = Bins(edges=(1.0, 2.0, 3.0), counts=(5, 6, 5, 7))
    alternative = predicted(counts, [1, 1, 1, 1])
    assert log_e_value(bins, counts) == pytest.approx(alternative - predicted(counts, [6, 6, 5, 7]))
    named = Bins(categories=("JPEG", "PNG", "WEBP"), counts=bins.counts)
    assert log_e_value(named, counts) == pytest.approx(alternative - predicted(counts, [5.5, 6.5, 5.5, 7.5]))


def test_the_e_value_is_1_on_average_over_training_and_photos() -> None:
    """Exactly, over all orders of 3 training photos and 3 others: each order of 6 exchangeable photos is as likely."""
    total, orders = 0.0, list(itertools.permutations(range(6)))
    for order in orders:
        bins = profile_of(np.array(order[:3], float))
        numbers = [bins.bin(value) for value in order[3:]]
        total += exp(log_e_value(bins, [numbers.count(index) for index in range(len(bins))]))
    assert total / len(orders) == pytest.approx(1)


def test_the_simulation_computes_what_the_server_computes() -> None:
    rng = np.random.default_rng(0)
    bins, values = profile_of(rng.standard_normal(300)), rng.standard_normal(200) + 0.3
    watched = drifting.watch(bins, values)
    for photos in (1, 2, 57, 200):
        counts = np.bincount([bins.bin(value) for value in values[:photos]], minlength=len(bins)).tolist()
        assert watched.log_e[photos - 1] == pytest.approx(log_e_value(bins, counts))
        assert watched.psi[photos - 1] == pytest.approx(psi(bins.counts, counts))


@pytest.mark.parametrize("draw", [normal(), tied], ids=["continuous", "tied"])
@pytest.mark.parametrize("training", [50, 500])
def test_unchanged_photos_keep_the_budget(draw: drifting.Draw, training: int) -> None:
    """1,000 streams, looked at after every photo. At the whole budget, 1 %, more than 20 errors have a probability of
    less than 0.2 %. A feature's part of the budget is a tenth of that.
    """
    made = windows(training, 1000, 1000, draw, draw, seed=3)
    assert sum(bool((window.log_e >= log(1 / ERROR_BUDGET)).any()) for window in made) <= 20
    assert sum(bool(window.drifts.any()) for window in made) <= 4


def test_neither_figure_suffices_alone() -> None:
    few = windows(3000, 30, 300, normal(), normal(), seed=4)
    assert np.mean([window.psi[-1] >= PSI_DRIFT for window in few]) > 0.5, "few photos differ from any profile"
    many = windows(3000, 10_000, 10, normal(), normal(0.25), seed=5)
    assert all(window.sure[-1] for window in many), "many photos show a difference too small to matter"
    assert not any(window.drifts[-1] for window in many)


def test_a_planted_shift_is_found() -> None:
    made = windows(3000, 1000, 100, normal(), normal(0.75), seed=6)
    needed = [window.photos_needed or 10_000 for window in made]
    print(f"a shift of 0.75 standard deviations is found after {median(needed):.0f} photos (median)")
    assert median(needed) < 100
    assert max(needed) < 1000


def test_a_feature_needs_both_figures_and_its_part_of_the_budget() -> None:
    """10 photos in one of two bins have an e-value of about 90: enough for the budget of one feature, not of two."""
    bins = Bins(edges=(0.5,), counts=(500, 500))
    e_value = exp(log_e_value(bins, (0, 11)))
    assert 1 / ERROR_BUDGET < e_value < 2 / ERROR_BUDGET
    [alone] = compare(Profile(1000, {"a": bins}, ""), {"a": [0, 11]})
    assert alone.drifts
    assert alone.psi is not None
    assert alone.psi > PSI_DRIFT
    assert alone.evidence == pytest.approx(log(e_value) / log(10))
    first, second = compare(Profile(1000, {"a": bins, "b": bins}, ""), {"a": [0, 11]})
    assert not first.drifts
    assert (second.counts, second.psi, second.drifts) == ((0, 0), 0, False)


def test_a_feature_that_the_training_photos_do_not_show_is_not_compared() -> None:
    profile = Profile.from_json(document(megapixels={"edges": [1.0]}, a={"edges": [0.5], "counts": [500, 500]}))
    shown, compared = compare(profile, {"megapixels": [0, 1000], "a": [0, 11]})
    assert (shown.counts, shown.psi, shown.evidence, shown.drifts) == ((0, 1000), None, None, False)
    assert compared.drifts, "the whole budget is the other's"


def test_a_value_is_counted_in_its_bin() -> None:
    profile = Profile.from_json(document(a={"edges": [1, 2]}, kind={"categories": ["JPEG", "PNG"]}))
    found = [profile.bins({"a": value, "kind": kind, "unknown": 1.0}) for value, kind in ((0.9, "PNG"), (1, "GIF"))]
    assert found == [{"a": 0, "kind": 1}, {"a": 1, "kind": 2}]
    assert profile.bins({"a": 2.0}) == {"a": 2}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((0, 0, 0), None), ((0, 4, 0), 1.5), ((2, 1, 1), 1.0), ((1, 2, 1), 1.5), ((0, 0, 9), 2.0), ((9, 0, 0), 1.0)],
)
def test_a_median_is_interpolated(counts: tuple[int, ...], expected: float | None) -> None:
    assert Bins(edges=(1.0, 2.0)).typical(counts) == expected


def test_the_commonest_category() -> None:
    bins = Bins(categories=("JPEG", "PNG"))
    assert [bins.typical(counts) for counts in ((1, 3, 2), (0, 0, 1), (0, 0, 0))] == ["PNG", "other", None]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"photos": 1, "features": []}', document(a={}), document(a={"edges": [2, 1]}),
        document(a={"edges": [1], "categories": ["x"]}), document(a={"edges": [1], "counts": [1]}),
        document(a={"edges": [1], "counts": [-1, 1]}), document(a={"edges": [1], "counts": [1, 0]}),
        document(a={"edges": ["x"]}), document(a=3),
    ],
)  # fmt: skip
def test_what_is_not_a_profile_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a profile") as refusal:
        Profile.from_json(content)
    assert "\n" not in str(refusal.value)


def test_the_simulation_has_as_many_features_as_the_shipped_profile() -> None:
    from services import SHIPPED_MODEL

    shipped = Profile.from_json((SHIPPED_MODEL / "inputs.json").read_bytes())
    assert sum(bool(bins.counts) for bins in shipped.features.values()) == FEATURES
