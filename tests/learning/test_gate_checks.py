"""The checks of the gate that compare masks, on made-up results."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from gates import made_up

from learning.gate.bootstrap import bounds, rounds_for
from learning.gate.differences import better_on_corrections, classes, engines_agree, groups, not_inferior
from learning.gate.limits import Limits
from learning.gate.pairs import OTHERS, Pairs
from learning.gate.verdict import Check, GateOutcome
from model.evaluation.photos import BINS, Judged

ALPHA, LIMITS = 0.025, Limits()
NAMES = ["ground", "cat", "tail", "ball", "tree"]


def better_by(gain: float, seed: int = 1, count: int = 200, number: int = 3) -> Pairs:
    return made_up(seed, count, number, dict.fromkeys(range(number), -gain))


def same(count: int = 200) -> Pairs:
    pairs = made_up(1, count)
    return replace(pairs, after=pairs.before)


@pytest.mark.parametrize("number", [2, 5])
def test_a_better_candidate_passes_whatever_the_classes(number: int) -> None:
    pairs = better_by(0.05, number=number)
    checks = [
        not_inferior(pairs, ALPHA, LIMITS),
        classes(pairs, NAMES[:number], ALPHA, LIMITS),
        groups(pairs, LIMITS),
        better_on_corrections(pairs, ALPHA, LIMITS),
        engines_agree(pairs, ALPHA, LIMITS),
    ]
    assert {check.outcome for check in checks} == {GateOutcome.PASSED}


def test_the_same_version_again_is_not_inferior_but_not_better() -> None:
    assert not_inferior(same(), ALPHA, LIMITS).outcome is GateOutcome.PASSED
    assert classes(same(), NAMES[:3], ALPHA, LIMITS).outcome is GateOutcome.PASSED
    assert better_on_corrections(same(), ALPHA, LIMITS).outcome is GateOutcome.FAILED


def test_a_worse_candidate_fails() -> None:
    pairs = better_by(-0.05)
    for check in (
        not_inferior(pairs, ALPHA, LIMITS),
        better_on_corrections(pairs, ALPHA, LIMITS),
        engines_agree(pairs, ALPHA, LIMITS),
    ):
        assert check.outcome is GateOutcome.FAILED, check.name


def test_better_on_average_but_worse_in_one_class_is_refused_for_that_class() -> None:
    pairs = made_up(1, 200, 3, {0: -0.1, 1: -0.1, 2: 0.08})
    assert not_inferior(pairs, ALPHA, LIMITS).outcome is GateOutcome.PASSED
    assert better_on_corrections(pairs, ALPHA, LIMITS).outcome is GateOutcome.PASSED
    found = classes(pairs, NAMES[:3], ALPHA, LIMITS)
    assert (found.outcome, found.reason) == (GateOutcome.FAILED, "worse in the class tail")
    exempt = classes(pairs, NAMES[:3], ALPHA, replace(LIMITS, exempt_classes=("tail",)))
    assert exempt.outcome is GateOutcome.PASSED


def test_a_group_that_gets_worse_is_named() -> None:
    better, worse = better_by(0.08), better_by(-0.1)
    of_group = np.array([name.startswith("c_") for name in better.names])[:, None, None]
    pairs = Pairs(
        better.names, np.where(of_group, worse.before, better.before), np.where(of_group, worse.after, better.after)
    )
    assert not_inferior(pairs, ALPHA, LIMITS).outcome is GateOutcome.PASSED
    found = groups(pairs, LIMITS)
    assert (found.outcome, found.reason) == (GateOutcome.FAILED, "worse in the group c")
    assert set(found.figures) == set("abcd")


def test_small_groups_are_pooled_and_a_single_one_is_skipped() -> None:
    pairs = made_up(1, 40)
    renamed = replace(pairs, names=(*(f"{'ab'[number % 2]}_{number}" for number in range(37)), "c_1", "d_1", "e_1"))
    assert {name: len(rows) for name, rows in renamed.groups(8).items()} == {"a": 19, "b": 18, OTHERS: 3}
    assert groups(renamed, LIMITS).outcome is GateOutcome.PASSED
    alone = groups(replace(pairs, names=tuple(f"photo{number}" for number in range(40))), LIMITS)
    assert (alone.outcome, "two groups" in alone.reason) == (GateOutcome.SKIPPED, True)


@pytest.mark.parametrize("count", [0, 1, 5, 19])
def test_too_few_photos_never_pass(count: int) -> None:
    """However much better the candidate is."""
    pairs = better_by(0.3, count=count)
    checks = [not_inferior(pairs, ALPHA, LIMITS), better_on_corrections(pairs, ALPHA, LIMITS)]
    checks += [classes(pairs, NAMES[:3], ALPHA, LIMITS)] if count else []
    for check in checks:
        assert check.outcome is GateOutcome.UNDECIDED, check.name
        assert check.needs is not None
        assert check.needs >= LIMITS.fewest_photos - count


def test_noisy_photos_are_undecided_and_as_many_as_needed_decide() -> None:
    """An equal candidate: with so many photos more, it is shown to be no worse."""
    wide = replace(LIMITS, margin=0.01)
    found = not_inferior(made_up(0, 60), ALPHA, wide)
    assert (found.outcome, "too few photos" in found.reason) == (GateOutcome.UNDECIDED, True)
    assert found.needs
    outcomes = [not_inferior(made_up(seed, 60 + found.needs), ALPHA, wide).outcome for seed in range(100, 140)]
    assert 24 <= outcomes.count(GateOutcome.PASSED) <= 38  # 80 % of 40 are stated, for the spread of these 60 photos


def test_photos_that_would_suffice_decide_against_what_they_do_not_show() -> None:
    """A candidate that is worse by less than its margin, but not surely."""
    pairs, wide = better_by(-0.006, count=800), replace(LIMITS, margin=0.01, class_margin=0.012)
    found = [not_inferior(pairs, ALPHA, wide), classes(pairs, NAMES[:3], ALPHA, wide)]
    assert {check.outcome for check in found} == {GateOutcome.FAILED}
    assert found[0].reason == "not shown to be as good as stable, though the photos would suffice for one that is"
    assert found[1].reason.startswith("not shown to be as good in the class")


def test_a_class_in_too_few_photos_is_undecided() -> None:
    rare = made_up(3, 200, 5, dict.fromkeys(range(5), -0.05), rare=0.03)
    found = classes(rare, NAMES, ALPHA, LIMITS)
    assert (found.outcome, found.reason[-10:]) == (GateOutcome.UNDECIDED, "class tree")
    photos = int(rare.photos_of_classes()[4])
    assert found.needs is not None
    assert found.needs >= LIMITS.fewest_photos - photos


def test_a_class_that_nowhere_occurs_does_not_disturb_the_others() -> None:
    without = made_up(3, 200, 5, dict.fromkeys(range(5), -0.05), rare=0.0)
    found = classes(without, NAMES, ALPHA, replace(LIMITS, exempt_classes=("tree",)))
    assert found.outcome is GateOutcome.PASSED
    assert (found.figures["tree"]["photos"], found.figures["tree"]["low"]) == (0, None)
    assert classes(without, NAMES, ALPHA, LIMITS).outcome is GateOutcome.UNDECIDED
    assert np.isfinite(bounds(without, ALPHA, ALPHA)[0].low)


def test_resamples_without_a_class_average_the_same_classes_of_both() -> None:
    """A class that the first version predicts where the truth has none counts for neither version."""
    before = np.array([[[90, 10, 0], [0, 100, 0], [0, 0, 0]]] * 2)
    after = np.array([[[90, 0, 10], [0, 100, 0], [0, 0, 0]]] * 2)
    pairs = Pairs(("a", "b"), before, after)
    assert np.isnan(pairs.differences()[2])
    assert pairs.differences()[1] == pytest.approx(100 / 100 - 100 / 110)


def test_one_photo_cannot_carry_a_candidate() -> None:
    pairs = same(60)
    after = pairs.before.copy()
    after[0] = np.diag(pairs.before[0].sum(1))
    found = better_on_corrections(replace(pairs, after=after), ALPHA, LIMITS)
    assert found.outcome is not GateOutcome.PASSED


def test_a_smaller_alpha_asks_for_more() -> None:
    low, lower = (bounds(made_up(1, 60), alpha, 0.05)[0].low for alpha in (0.05, 0.001))
    assert lower < low
    assert [rounds_for(0.05), rounds_for(0.0001)] == [2000, 200000]


def test_the_same_photos_give_the_same_answer() -> None:
    assert better_on_corrections(made_up(1, 60), ALPHA, LIMITS) == better_on_corrections(made_up(1, 60), ALPHA, LIMITS)


def test_results_of_other_photos_or_sizes_are_not_compared() -> None:
    first, second = made_up(1, 30), made_up(2, 30)
    with pytest.raises(ValueError, match="same photos at the same size"):
        Pairs.of(judged(first.before, first.names), judged(second.before, first.names))
    with pytest.raises(ValueError, match="same photos"):
        Pairs.of(judged(first.before, first.names), judged(first.after, first.names[::-1]))
    assert len(Pairs.of(judged(first.before, first.names), judged(first.after, first.names))) == 30


def judged(confusion: np.ndarray, names: tuple[str, ...]) -> Judged:
    return Judged(list(names), confusion, np.zeros(len(names)), np.zeros((BINS, 3)))


def test_a_check_names_its_statistic_and_requirement() -> None:
    check: Check = classes(made_up(1, 60), NAMES[:3], ALPHA, LIMITS)
    assert all(getattr(check, one.name) is not None for one in dataclasses.fields(check) if one.name != "needs")
    assert "bootstrap-t" in check.statistic
    assert "lower bound" in check.required
