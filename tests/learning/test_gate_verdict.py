"""The verdict's two renderings, the power, and the alpha ledger."""

import json
from dataclasses import replace

import pytest
from gates import made_up

from learning.gate.differences import better_on_corrections, classes, groups, not_inferior
from learning.gate.ledger import SMALLEST_ALPHA, TOTAL, Candidate, Ledger, LedgerError, close, spend
from learning.gate.limits import Limits
from learning.gate.power import detectable, missing, power
from learning.gate.verdict import Check, GateOutcome, Verdict

LIMITS = Limits()


def made(alpha: float = 0.025) -> Verdict:
    pairs = made_up(1, 60, worse={0: -0.1, 1: -0.1, 2: 0.12})
    checks = (
        not_inferior(pairs, alpha, LIMITS),
        classes(pairs, ["ground", "cat", "tail"], alpha, LIMITS),
        groups(pairs, LIMITS),
        better_on_corrections(pairs, alpha, LIMITS),
    )
    lines = tuple(power(60, 60, alpha, LIMITS).lines)
    return Verdict("cats/2", "cats/1", alpha, lines, checks, {"test": {"photos": 3}})


def test_a_verdict_survives_json() -> None:
    verdict = made()
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict


def test_the_public_part_names_reasons_and_holds_no_score() -> None:
    verdict = made()
    text = json.dumps(verdict.public()) + "\n".join(verdict.lines())
    assert "worse in the class tail" in text
    assert "reported" not in text
    for check in verdict.checks:
        assert check.figures
        for value in scores(check.figures):
            assert str(value) not in text
    sealed = json.dumps(verdict.to_dict())
    assert "mean_iou" in sealed
    assert verdict.checks[0].statistic in sealed


def scores(figures: dict[str, object]) -> list[float]:
    found = []
    for value in figures.values():
        found += scores(value) if isinstance(value, dict) else [value] if isinstance(value, float) else []
    return [value for value in found if value not in (0.0, 1.0)]


def test_a_single_failure_outweighs_all_else() -> None:
    def verdict(*outcomes: GateOutcome) -> GateOutcome:
        checks = tuple(Check("x", "s", "r", outcome, "because") for outcome in outcomes)
        return Verdict("a/2", "a/1", 0.05, (), checks).outcome

    assert verdict(GateOutcome.PASSED, GateOutcome.SKIPPED) is GateOutcome.PASSED
    assert verdict(GateOutcome.PASSED, GateOutcome.UNDECIDED) is GateOutcome.UNDECIDED
    assert verdict(GateOutcome.UNDECIDED, GateOutcome.FAILED, GateOutcome.PASSED) is GateOutcome.FAILED


def test_the_power_is_stated_before_anything_is_measured() -> None:
    """z(0.95) + z(0.8) = 2.486 standard errors."""
    assert detectable(100, 0.05, 0.05, 0.8) == pytest.approx(2.486 * 0.05 / 10, rel=1e-3)
    assert power(296, 0, 0.05, replace(LIMITS, spread=0.05)).lines == [
        "296 gate photos show a difference of 0.7 points with 80% probability at an alpha of 0.05",
        "there are no held-out corrections",
    ]


def test_so_many_more_photos_reach_the_power() -> None:
    more = missing(50, 0.01, 0.01, 0.05, 0.8)
    assert more == 260  # 50 x 2.486² - 50 = 259.1, rounded up to two digits
    assert detectable(50 + more, 0.01 * 50**0.5, 0.05, 0.8) <= 0.01
    assert missing(400, 0.001, 0.01, 0.05, 0.8) == 0


def candidate(number: int, card: str = "c0", held_out: str = "h0", stable: str = "cats/0") -> Candidate:
    return Candidate(f"cats/{number}", card, held_out, stable)


def test_all_candidates_together_spend_at_most_the_total() -> None:
    ledger, spent = Ledger("g0"), []
    with pytest.raises(LedgerError, match="49 candidates and is used up"):
        for number in range(100):
            ledger, entry = spend(ledger, candidate(number))
            spent.append(entry.alpha)
    assert spent[:3] == pytest.approx([TOTAL / 2, TOTAL / 6, TOTAL / 12])
    assert sum(spent) + ledger.left == pytest.approx(TOTAL)
    assert min(spent) >= SMALLEST_ALPHA


def test_a_candidate_is_charged_once() -> None:
    ledger, first = spend(Ledger("g0"), candidate(1))
    ledger, _ = spend(ledger, candidate(2))
    again, entry = spend(ledger, candidate(1))
    assert (again, entry) == (ledger, first)
    closed = close(again, candidate(1), GateOutcome.FAILED)
    assert close(closed, candidate(1), GateOutcome.FAILED) == closed
    assert spend(closed, candidate(1)) == (closed, replace(first, outcome=GateOutcome.FAILED))


def test_another_look_with_more_corrections_or_another_stable_is_paid_for() -> None:
    ledger, first = spend(Ledger("g0"), candidate(1))
    for changes in ({"held_out": "h1"}, {"stable": "cats/9"}):
        _, second = spend(ledger, candidate(1, **changes))
        assert (second.number, second.alpha < first.alpha) == (2, True)


def test_a_ledger_refuses_what_does_not_fit() -> None:
    ledger, _ = spend(Ledger("g0"), candidate(1))
    with pytest.raises(LedgerError, match="another card"):
        spend(ledger, candidate(1, card="c1"))
    with pytest.raises(LedgerError, match="not charged"):
        close(ledger, candidate(2), GateOutcome.PASSED)
    with pytest.raises(LedgerError, match="judged already: failed"):
        close(close(ledger, candidate(1), GateOutcome.FAILED), candidate(1), GateOutcome.PASSED)
    stored = json.loads(json.dumps(ledger.to_dict()))
    assert Ledger.from_dict(stored, "g0") == ledger
    with pytest.raises(LedgerError, match="another gate set"):
        Ledger.from_dict(stored, "g1")
