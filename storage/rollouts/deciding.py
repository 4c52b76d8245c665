"""Decides on the next step of a rollout from its counts alone: back, forward, or wait."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from storage.rollouts import counts
from storage.rollouts.evidence import Tally, log_average, log_evidence, missing
from storage.rollouts.rollout import BUCKETS, Arm, Rollout, Step

MOST_HARM = 0.5  # no step allows more failures


class Check(StrEnum):
    """FAILURES: jobs that failed. VERDICTS: masks that people called bad. SPEED: time of a micro-batch.
    MASKS: photos on which the masks of the two versions differ.
    """

    FAILURES = "failures"
    VERDICTS = "verdicts"
    SPEED = "speed"
    MASKS = "masks"


# The count of the events that each check waits for.
EVENTS = {
    Check.FAILURES: counts.ended(Arm.CANARY), Check.SPEED: counts.TIMED, Check.MASKS: counts.SHADOWED,
}  # fmt: skip


class Action(StrEnum):
    ROLL_BACK = "roll back"
    ADVANCE = "advance"
    WAIT = "wait"


@dataclass(frozen=True)
class Finding:
    """What one check has found so far. Evidence as a natural logarithm.

    `hits` of `events`: those that speak against the canary; `allowed`: their share under the null hypothesis.
    `against`: evidence that the canary is worse than allowed. `within`: evidence that it is not; None if an advance
    does not need it. `open`: further events whose end is unknown, because a worker has died; until it is known, they
    count as hits in `within`. Else a canary that crashes would advance on the jobs that survive it.
    """

    check: Check
    hits: int
    events: int
    allowed: float
    against: float
    within: float | None = None
    open: int = 0

    @property
    def good(self) -> Tally:
        """The events that speak for the canary."""
        return Tally(self.events - self.hits, self.events + self.open, 1 - self.allowed)


@dataclass(frozen=True)
class Decision:
    """`against`: the logarithm of the evidence of all checks together."""

    action: Action
    reason: str
    findings: tuple[Finding, ...]
    against: float


def decide(rollout: Rollout, now_ms: int) -> Decision:
    """Returns ROLL_BACK with a probability of at most `false_rollbacks` in the whole rollout, however often it is
    called, if the canary is not worse.
    """
    policy = rollout.policy
    findings = (_failures(rollout), _verdicts(rollout), _speed(rollout), _masks(rollout))
    against = log_average([finding.against for finding in findings])
    if against >= -math.log(policy.false_rollbacks):
        worst = max(findings, key=lambda finding: finding.against)
        return Decision(Action.ROLL_BACK, _accusation(worst), findings, against)
    shown = all(one.within is None or one.within >= -math.log(policy.false_advances) for one in findings)
    served = rollout.step.count(counts.ended(Arm.CANARY)) > 0  # a step that nobody has seen proves nothing
    if shown and served and now_ms - rollout.step.started_ms >= policy.step_s * 1000:
        return Decision(Action.ADVANCE, f"All limits hold at {rollout.step.share:.3g}.", findings, against)
    return Decision(Action.WAIT, "The evidence does not suffice yet.", findings, against)


@dataclass(frozen=True)
class Missing:
    """`events`: until a check's `within` suffices; None: never at this rate. `seconds`: None if unknown."""

    events: int | None
    seconds: float | None


def missing_for(finding: Finding, rollout: Rollout, now_ms: int) -> Missing:
    """What a check lacks for the next step, if things go on as in this step."""
    if finding.within is None:
        return Missing(0, 0.0)
    good = finding.good
    rate = (good.hits + 1) / (good.events + 1)  # one good event more: 1 before the first one
    more = missing(good, -math.log(rollout.policy.false_advances), rate)
    lasted_s = max(1, now_ms - rollout.step.started_ms) / 1000
    seen = rollout.step.count(EVENTS[finding.check])
    seconds = more * lasted_s / seen if more and seen else None
    return Missing(more, 0.0 if more == 0 else seconds)


def wait_s(rollout: Rollout, decision: Decision, now_ms: int) -> float | None:
    """Seconds until the next step, at the rate of this one; None if unknown."""
    lasted_s = (now_ms - rollout.step.started_ms) / 1000
    waits = [missing_for(finding, rollout, now_ms).seconds for finding in decision.findings]
    known = [one for one in waits if one is not None]
    return max(rollout.policy.step_s - lasted_s, *known) if len(known) == len(waits) else None


def _failures(rollout: Rollout) -> Finding:
    """Against: of all failed jobs, the canary's share exceeds its share of jobs, which is known exactly.

    Within: it spoils at most `harm` of all jobs on the next step.
    """
    ended, failed = rollout.total(counts.ended(Arm.CANARY)), rollout.total(counts.failed(Arm.CANARY))
    limit = min(MOST_HARM, rollout.policy.harm / rollout.next_share)
    against = [_of_canary(step, counts.failed) for step in rollout.steps]
    lost = rollout.total(counts.lost(Arm.CANARY)) - rollout.total(counts.settled(Arm.CANARY))
    finding = Finding(Check.FAILURES, failed, ended, limit, log_evidence(against), open=max(0, lost))
    return _with_limit(finding)


def _verdicts(rollout: Rollout) -> Finding:
    """People's verdicts are rare, so an advance does not wait for them."""
    against = [_of_canary(step, counts.bad) for step in rollout.steps]
    hits, events = sum(tally.hits for tally in against), sum(tally.events for tally in against)
    return Finding(Check.VERDICTS, hits, events, against[-1].at_most, log_evidence(against))


def _speed(rollout: Rollout) -> Finding:
    """If the canary's micro-batches take at most `slower` times as long, no more than half of them take longer."""
    return _against_limit(Check.SPEED, rollout, counts.SLOWER, counts.TIMED, 0.5)


def _masks(rollout: Rollout) -> Finding:
    if not rollout.policy.shadow:
        return Finding(Check.MASKS, 0, 0, rollout.policy.differing, 0.0)
    finding = _against_limit(Check.MASKS, rollout, counts.DIFFERING, counts.SHADOWED, rollout.policy.differing)
    return _with_limit(replace(finding, open=max(0, rollout.total(counts.BEGUN) - finding.events)))


def _against_limit(check: Check, rollout: Rollout, hits: str, events: str, allowed: float) -> Finding:
    tally = Tally(rollout.total(hits), rollout.total(events), allowed)
    return _with_limit(Finding(check, tally.hits, tally.events, allowed, log_evidence([tally])))


def _of_canary(step: Step, name: Callable[[Arm], str]) -> Tally:
    canary, stable = (step.count(name(arm)) for arm in (Arm.CANARY, Arm.STABLE))
    return Tally(canary, canary + stable, step.below / BUCKETS)


def _with_limit(finding: Finding) -> Finding:
    """With the evidence that fewer than `allowed` of the events are hits."""
    return replace(finding, within=log_evidence([finding.good]))


def _accusation(finding: Finding) -> str:
    what = {
        Check.FAILURES: "jobs failed: more than the canary's share of all failures",
        Check.VERDICTS: "bad masks were the canary's: more than its share",
        Check.SPEED: "micro-batches took longer than the limit allows",
        Check.MASKS: "photos got a mask that differs from stable's",
    }
    return f"{finding.hits} of {finding.events} {what[finding.check]}."
