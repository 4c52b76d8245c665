"""The next step of a rollout: decided from its counts, with stated error rates."""

from dataclasses import replace

import numpy as np
import pytest
from rollouts import STABLE, Rates, rollout, simulated

from storage.rollouts.deciding import Action, Check, Decision, Finding, decide, missing_for, wait_s
from storage.rollouts.rollout import Policy, State

POLICY = Policy(step_s=0)
GOOD = {
    "canary.ended": 400, "stable.ended": 40_000, "timed": 100, "slower": 5, "shadowed": 800, "differing": 10,
}  # fmt: skip
MINUTE_MS = 60_000


def finding(decision: Decision, check: Check) -> Finding:
    return next(one for one in decision.findings if one.check is check)


def test_a_canary_within_all_limits_advances() -> None:
    assert decide(rollout(POLICY, GOOD), MINUTE_MS).action is Action.ADVANCE


def test_without_counts_it_waits_and_does_not_know_how_long() -> None:
    decision = decide(rollout(POLICY), MINUTE_MS)
    assert (decision.action, decision.against) == (Action.WAIT, 0.0)
    assert wait_s(rollout(POLICY), decision, MINUTE_MS) is None


def test_a_step_lasts_as_long_as_the_policy_wants() -> None:
    slow = rollout(replace(POLICY, step_s=300), GOOD)
    early = decide(slow, MINUTE_MS)
    assert (early.action, wait_s(slow, early, MINUTE_MS)) == (Action.WAIT, 240)
    assert decide(slow, 300_000).action is Action.ADVANCE


@pytest.mark.parametrize(
    ("check", "counted"),
    [
        (Check.FAILURES, {"canary.failed": 2, "stable.failed": 0}),
        (Check.VERDICTS, {"canary.bad": 4, "stable.bad": 5}),
        (Check.SPEED, {"timed": 20, "slower": 19}),
        (Check.MASKS, {"shadowed": 20, "differing": 12}),
    ],
)
def test_each_check_alone_rolls_back(check: Check, counted: dict[str, int]) -> None:
    decision = decide(rollout(POLICY, {**GOOD, **counted}), MINUTE_MS)
    assert decision.action is Action.ROLL_BACK
    assert max(decision.findings, key=lambda one: one.against).check is check
    hits = counted[next(iter(counted)) if check in (Check.FAILURES, Check.VERDICTS) else list(counted)[1]]
    assert decision.reason.startswith(f"{hits} of ")


def test_as_many_failures_as_stable_has_are_not_held_against_the_canary() -> None:
    """1 % of the jobs, 1 % of the failures: many failures, but the canary is not to blame, and it must wait."""
    decision = decide(rollout(POLICY, {**GOOD, "canary.failed": 40, "stable.failed": 4000}), MINUTE_MS)
    assert decision.action is Action.WAIT
    assert decision.against < 1


def test_the_wait_is_the_slowest_check_at_the_rate_of_this_step() -> None:
    few = {**GOOD, "canary.ended": 20}
    running = rollout(POLICY, few)
    decision = decide(running, MINUTE_MS)
    missing = missing_for(finding(decision, Check.FAILURES), running, MINUTE_MS)
    assert missing.events
    assert wait_s(running, decision, MINUTE_MS) == pytest.approx(missing.events * 60 / 20)
    later = decide(rollout(POLICY, {**few, "canary.ended": 20 + missing.events}), MINUTE_MS)
    assert later.action is Action.ADVANCE


def test_the_harm_allowed_shrinks_with_the_share_of_the_next_step() -> None:
    allowed = [finding(decide(rollout(POLICY, *[{}] * steps), 1), Check.FAILURES).allowed for steps in (1, 2, 3)]
    assert allowed == [pytest.approx(0.1), pytest.approx(0.02), pytest.approx(0.01)]


def test_without_shadows_the_masks_are_not_waited_for() -> None:
    counted = {**GOOD, "shadowed": 0, "differing": 0}
    assert decide(rollout(POLICY, counted), MINUTE_MS).action is Action.WAIT
    assert decide(rollout(replace(POLICY, shadow=0), counted), MINUTE_MS).action is Action.ADVANCE


def test_lost_jobs_hold_the_next_step_up_until_they_have_ended() -> None:
    lost = {**GOOD, "canary.lost": 60}
    decision = decide(rollout(POLICY, lost), MINUTE_MS)
    assert (decision.action, finding(decision, Check.FAILURES).open) == (Action.WAIT, 60)
    assert decision.against < 1  # a killed worker loses the jobs of both versions: it proves nothing
    assert decide(rollout(POLICY, {**lost, "canary.settled": 60}), MINUTE_MS).action is Action.ADVANCE


def test_shadows_that_never_ended_hold_the_next_step_up() -> None:
    decision = decide(rollout(POLICY, {**GOOD, "begun": 900}), MINUTE_MS)
    assert (decision.action, finding(decision, Check.MASKS).open) == (Action.WAIT, 100)


def test_a_step_that_has_served_no_job_is_not_left() -> None:
    assert decide(rollout(POLICY, GOOD, {}), MINUTE_MS).action is Action.WAIT
    assert decide(rollout(POLICY, GOOD, {"canary.ended": 400}), MINUTE_MS).action is Action.ADVANCE


def test_evidence_of_all_steps_counts_each_with_its_own_share() -> None:
    early = decide(rollout(POLICY, {"canary.failed": 1}, {}), 1)
    late = decide(rollout(POLICY, {}, {"canary.failed": 1}), 1)
    assert early.against > late.against > 0  # a failure of the canary's is more surprising at 1 % than at 10 %


@pytest.mark.parametrize(
    "canary", [STABLE, replace(STABLE, slower=0.5, differs=POLICY.differing)], ids=["like stable", "at the limits"]
)
def test_of_200_equal_canaries_at_most_one_in_a_hundred_is_rolled_back(canary: Rates) -> None:
    """Looked at after every 100 jobs. `scripts/rollout_error_rates.py` simulates 1,000 rollouts, and longer ones."""
    ends = [simulated(np.random.default_rng(seed), canary, POLICY, tick=100, most=8000)[0] for seed in range(100)]
    assert ends.count(State.ROLLED_BACK) <= 3  # four of 100 would be an event of 2 % at a rate of 1 %
    assert canary is not STABLE or State.PROMOTED in ends


@pytest.mark.parametrize(
    "canary",
    [replace(STABLE, fails=0.2), replace(STABLE, differs=0.5), replace(STABLE, slower=0.95)],
    ids=["fails", "other masks", "slow"],
)
def test_a_bad_canary_is_always_rolled_back_before_it_gets_more(canary: Rates) -> None:
    for seed in range(50):
        state, _, served = simulated(np.random.default_rng(seed), canary, POLICY)
        assert (state, served < 100) == (State.ROLLED_BACK, True)
