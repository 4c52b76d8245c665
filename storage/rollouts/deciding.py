"""Decides from the counts of a rollout alone whether to roll it back, advance it, or wait."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from storage.rollouts import counts
from storage.rollouts.evidence import Tally, log_average, log_evidence, missing
from storage.rollouts.rollout import BUCKETS, Arm, Rollout, Step

HIGHEST_LIMIT = 0.5  # of the share of failed jobs, on any step


class Check(StrEnum):
    """FAILURES: jobs that failed. VERDICTS: masks that people called bad. SPEED: the time of micro-batches.
    MASKS: photos for which the masks of the two versions differ.
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
    """What one check has found so far. Evidence is given as its natural logarithm.

    `hits`: how many of the `events` count against the canary; `allowed`: the largest share of them that is allowed.
    `against`: evidence that the canary is worse than stable, or than its limit. `within`: evidence that it keeps its
    limit; None if an advance does not need it. `open`: more events, whose end is unknown because a worker has died.
    Until it is known, `within` counts them as hits: else a canary that crashes would advance on the jobs that survive.
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
        """The events that count for the canary: as a tally, their hits."""
        return Tally(self.events - self.hits, self.events + self.open, 1 - self.allowed)


@dataclass(frozen=True)
class Decision:
    """`against`: the natural logarithm of the mean evidence of all checks."""

    action: Action
    reason: str
    findings: tuple[Finding, ...]
    against: float


def decide(rollout: Rollout, now_ms: int) -> Decision:
    """What to do now. Changes nothing.

    If the canary is not worse, the probability that any call during the rollout returns ROLL_BACK is at most
    `false_rollbacks`, however many calls there are.
    """
    policy = rollout.policy
    findings = (_failures(rollout), _verdicts(rollout), _speed(rollout), _masks(rollout))
    against = log_average([finding.against for finding in findings])
    if against >= -math.log(policy.false_rollbacks):
        worst = max(findings, key=lambda finding: finding.against)
        return Decision(Action.ROLL_BACK, _why_rolled_back(worst), findings, against)
    limits_hold = all(one.within is None or one.within >= -math.log(policy.false_advances) for one in findings)
    served = rollout.step.count(counts.ended(Arm.CANARY)) > 0  # a step without a job of the canary proves nothing
    if limits_hold and served and now_ms - rollout.step.started_ms >= policy.step_s * 1000:
        return Decision(Action.ADVANCE, f"All limits hold at {rollout.step.share:.3g}.", findings, against)
    return Decision(Action.WAIT, "There is not enough evidence yet.", findings, against)


@dataclass(frozen=True)
class Missing:
    """`events`: how many more a check needs until its `within` suffices; None: it never will at this rate.

    `seconds`: how long these events will take; None if unknown.
    """

    events: int | None
    seconds: float | None


def missing_for(finding: Finding, rollout: Rollout, now_ms: int) -> Missing:
    """What a check lacks for the next step: its share of hits stays as it is, events come as fast as on this step."""
    if finding.within is None:
        return Missing(0, 0.0)
    good = finding.good
    rate = (good.hits + 1) / (good.events + 1)  # as if one more event had been good: 1 before the first event
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
    """Against: the canary's share of the failed jobs exceeds its share of all jobs, which is known exactly.

    Within: the canary will spoil at most `harm` of all jobs on the next step.
    """
    ended, failed = rollout.total(counts.ended(Arm.CANARY)), rollout.total(counts.failed(Arm.CANARY))
    limit = min(HIGHEST_LIMIT, rollout.policy.harm / rollout.next_share)
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
    """The limit holds if at most half of the pairs exceed it, that is, if the median ratio is at most `slower`."""
    return _against_limit(Check.SPEED, Tally(rollout.total(counts.SLOWER), rollout.total(counts.TIMED), 0.5))


def _masks(rollout: Rollout) -> Finding:
    if not rollout.policy.shadow:
        return Finding(Check.MASKS, 0, 0, rollout.policy.differing, 0.0)
    tally = Tally(rollout.total(counts.DIFFERING), rollout.total(counts.SHADOWED), rollout.policy.differing)
    return _against_limit(Check.MASKS, tally, max(0, rollout.total(counts.BEGUN) - tally.events))


def _against_limit(check: Check, tally: Tally, unknown: int = 0) -> Finding:
    """`unknown`: events whose end is unknown."""
    against = log_evidence([tally])
    return _with_limit(Finding(check, tally.hits, tally.events, tally.at_most, against, open=unknown))


def _of_canary(step: Step, name: Callable[[Arm], str]) -> Tally:
    canary, stable = (step.count(name(arm)) for arm in (Arm.CANARY, Arm.STABLE))
    return Tally(canary, canary + stable, step.below / BUCKETS)


def _with_limit(finding: Finding) -> Finding:
    """Add the evidence that the share of hits is lower than `allowed`."""
    return replace(finding, within=log_evidence([finding.good]))


def _why_rolled_back(finding: Finding) -> str:
    what = {
        Check.FAILURES: "jobs of the canary failed: it has more than its share of all failures",
        Check.VERDICTS: "bad masks were the canary's: it has more than its share of all bad masks",
        Check.SPEED: "micro-batches of the canary took longer than the limit allows",
        Check.MASKS: "shadowed photos got a different mask from the canary",
    }
    return f"{finding.hits} of {finding.events} {what[finding.check]}."
