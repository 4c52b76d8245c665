"""How often the gate errs: hundreds of simulated gates. `scripts/gate_error_rates.py` prints more of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gates import drawn, made_up, measured, most_errors, swapped
from services import ROOT

from learning.gate.bootstrap import bounds
from learning.gate.differences import better_on_corrections
from learning.gate.limits import Limits
from learning.gate.pairs import Pairs, mean_over_classes
from learning.gate.swaps import p_better, p_classes_worse, p_groups_worse
from learning.gate.verdict import GateOutcome
from model.data import examples
from model.segmenter import Segmenter

GATES, ALPHA, LIMITS = 500, 0.05, Limits()
VERSIONS = ROOT / "model" / "weights" / "pets"


@pytest.fixture(scope="module")
def real(pets: Path) -> Pairs:
    """Photos measured with pets/2 and pets/3."""
    before, after = (Segmenter(VERSIONS / number) for number in ("2", "3"))
    return measured(before, after, examples(pets, "test")[::5])


def equal_gates(pairs: Pairs, count: int, seed: int) -> list[Pairs]:
    rng = np.random.default_rng(seed)
    return [swapped(rng, drawn(rng, pairs, count)) for _ in range(GATES)]


def passes(pairs: Pairs) -> bool:
    """The check computes the bounds too; here only where they could still decide."""
    return p_better(pairs, ALPHA) <= ALPHA and better_on_corrections(pairs, ALPHA, LIMITS).outcome is GateOutcome.PASSED


def looks_better(pairs: Pairs) -> bool:
    return float(mean_over_classes(pairs.differences())) > 0


@pytest.mark.parametrize("count", [20, 60, 200])
def test_equal_candidates_pass_at_most_as_often_as_stated(real: Pairs, count: int) -> None:
    gates = equal_gates(real, count, count)
    assert sum(map(passes, gates)) <= most_errors(GATES, ALPHA)
    assert sum(map(looks_better, gates)) > most_errors(GATES, ALPHA)  # this test would see a gate that guesses


@pytest.mark.parametrize(("classes", "rare"), [(2, 1.0), (5, 0.1)])
def test_so_do_those_of_other_classes(classes: int, rare: float) -> None:
    """Of five classes, one occurs in two photos of 20 on average: many resamples are without it."""
    gates = equal_gates(made_up(1, 400, classes, rare=rare), 20, classes)
    assert sum(map(passes, gates)) <= most_errors(GATES, ALPHA)
    assert any((gate.photos_of_classes() == 0).any() for gate in gates) == (rare < 1)


def test_better_candidates_pass(real: Pairs) -> None:
    """pets/3 is three points better than pets/2: 60 photos nearly always show it."""
    rng = np.random.default_rng(8)
    assert sum(passes(drawn(rng, real, 60)) for _ in range(100)) >= 90


@pytest.mark.parametrize("make", [lambda real: real, lambda _: made_up(2, 2000, 5, {4: 0.1}, rare=0.5)])
def test_bounds_err_about_as_often_as_stated(real: Pairs, make: Callable[[Pairs], Pairs]) -> None:
    """Of 20 photos. A bound is not an exact statistic: its rate may be off by a third."""
    pairs, rng, trials = make(real), np.random.default_rng(20), GATES // 2
    truth, most = float(mean_over_classes(pairs.differences())), most_errors(trials, ALPHA * 4 / 3)
    found = [bounds(drawn(rng, pairs, 20), ALPHA, ALPHA)[0] for _ in range(trials)]
    assert sum(one.low > truth for one in found) <= most
    assert sum(one.high < truth for one in found) <= most
    assert sum(one.value > truth for one in found) > most


def test_equal_candidates_are_refused_for_a_class_at_most_as_often_as_stated() -> None:
    gates = equal_gates(made_up(3, 400, 5, rare=0.3), 40, 3)
    assert sum(np.nanmin(p_classes_worse(gate, ALPHA)) <= ALPHA for gate in gates) <= most_errors(GATES, ALPHA)


def test_nor_for_one_of_many_groups() -> None:
    gates = [
        replace(gate, names=tuple(f"group{number // 8}_{number}" for number in range(80)))
        for gate in equal_gates(made_up(4, 400), 80, 4)
    ]
    refused = [p_groups_worse(gate, list(gate.groups(8).values()), ALPHA).min() <= ALPHA for gate in gates]
    assert sum(refused) <= most_errors(GATES, ALPHA)


def test_the_binomial_limit() -> None:
    assert [most_errors(10, 0.0), most_errors(10, 1.0), most_errors(500, 0.05)] == [0, 10, 41]
