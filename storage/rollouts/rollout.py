"""One rollout: the gradual replacement of the stable version by another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter

from storage.offer import Canary

BUCKETS = 65_536  # the last four hex digits of a job id, which are random


class State(StrEnum):
    """RUNNING: the version serves its share of the jobs. PAUSED: it serves none until a person resumes the rollout.

    PROMOTED: `stable` points at the version. ROLLED_BACK: the evidence was against it, or no worker could load it.
    ABORTED: a person has ended the rollout, or has pointed `stable` at a third version.
    """

    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"

    @property
    def final(self) -> bool:
        return self not in (State.RUNNING, State.PAUSED)


class Arm(StrEnum):
    """Which of the two versions a job that asks for `stable` gets while a rollout runs."""

    CANARY = "canary"
    STABLE = "stable"


def _ascending(steps: tuple[float, ...]) -> tuple[float, ...]:
    if list(steps) != sorted(set(steps)):
        raise ValueError("each share must be greater than the one before")
    return steps


Share = Annotated[float, Field(gt=0, lt=1)]
Steps = Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_ascending)]


@dataclass(frozen=True)
class Policy:
    """`steps`: shares of the jobs, 0 .. 1, ascending; after the last one `stable` moves.

    `step_s`: the shortest time of a step, seconds.
    `shadow`: the share of stable's jobs that the canary segments too, for comparison; 0: none.
    `false_rollbacks`: the highest probability that a canary which is not worse is rolled back.
    `false_advances`: the highest probability that a canary which exceeds a limit advances.
    `harm`: a limit: the share of all jobs that the canary may spoil on its next step.
    `slower`: a limit: how many times as long as stable's the canary's micro-batches may take.
    `differing`: a limit: the share of photos on which the masks may differ.
    `pixels`: two masks differ if at least this share of their pixels does.
    """

    steps: Steps = (0.01, 0.1, 0.5)
    step_s: Annotated[float, Field(ge=0)] = 300.0
    shadow: Annotated[float, Field(ge=0, lt=1)] = 0.02
    false_rollbacks: Share = 0.01
    false_advances: Share = 0.05
    harm: Share = 0.01
    slower: Annotated[float, Field(ge=1)] = 1.25
    differing: Share = 0.05
    pixels: Share = 0.2


@dataclass(frozen=True)
class Step:
    """A share of the jobs, and what was counted while the canary had it (storage/rollouts/counts.py)."""

    share: float
    started_ms: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def below(self) -> int:
        """A job is the canary's if its bucket, from 0 to BUCKETS - 1, is lower than this."""
        return max(1, round(self.share * BUCKETS))

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)


@dataclass(frozen=True)
class Rollout:
    """`version` replaces `stable`, a version too. Times in ms UTC; 0: not yet.

    `by`: who started it: a shell user, a key, or `policy` for the housekeeper.
    `steps`: those begun so far.
    `reason`: why it ended or is paused.
    `read`: the counters in Redis as they were when they were last added to the steps.
    `read_from`: the generation of these counters. After a loss of its data, Redis begins another one.
    """

    id: str
    version: str
    stable: str
    by: str
    started_ms: int
    policy: Policy
    steps: tuple[Step, ...]
    state: State = State.RUNNING
    reason: str = ""
    ended_ms: int = 0
    read: Mapping[str, int] = field(default_factory=dict)
    read_from: str = ""

    @property
    def step(self) -> Step:
        return self.steps[-1]

    @property
    def canary(self) -> Canary:
        """What a worker that has loaded both versions names in its claims."""
        return Canary(
            self.version, self.step.below, round(self.policy.shadow * BUCKETS), f"{self.id}:{len(self.steps) - 1}"
        )

    @property
    def next_share(self) -> float:
        """The share of the next step; 1 after the last one."""
        return min((share for share in self.policy.steps if share > self.step.share), default=1.0)

    def total(self, name: str) -> int:
        """A count over all steps."""
        return sum(step.count(name) for step in self.steps)

    @property
    def log_fields(self) -> dict[str, str | float]:
        about = {"rollout": self.id, "model": self.version, "state": str(self.state), "reason": self.reason}
        return {"share": self.step.share, **{name: value for name, value in about.items() if value}}

    def paused(self, reason: str) -> Rollout:
        """The canary gets no jobs until the rollout is resumed."""
        return replace(self, state=State.PAUSED, reason=reason)

    def resumed(self, now_ms: int) -> Rollout:
        """Continue with the same share, as a step of its own, because the canary's share was 0 meanwhile."""
        if self.state is State.RUNNING:
            return self
        return replace(self, state=State.RUNNING, reason="", steps=(*self.steps, Step(self.step.share, now_ms)))

    def aborted(self, reason: str, now_ms: int) -> Rollout:
        """`stable` stays where it is. The version is not condemned."""
        return replace(self, state=State.ABORTED, reason=reason, ended_ms=now_ms)

    def rolled_back(self, reason: str, now_ms: int) -> Rollout:
        return replace(self, state=State.ROLLED_BACK, reason=reason, ended_ms=now_ms)

    def advanced(self, reason: str, now_ms: int) -> Rollout:
        """Begin the next step. After the last one, the version becomes stable."""
        if self.next_share < 1:
            steps = (*self.steps, Step(self.next_share, now_ms))
            return replace(self, state=State.RUNNING, reason="", steps=steps)
        return self.promoted(reason, now_ms)

    def promoted(self, reason: str, now_ms: int) -> Rollout:
        return replace(self, state=State.PROMOTED, reason=reason, ended_ms=now_ms)

    def to_json(self) -> bytes:
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, content: bytes) -> Rollout:
        """Raises ValueError if the content is not a rollout."""
        return _ADAPTER.validate_json(content)


@dataclass(frozen=True)
class Condemned:
    """Why a version was rolled back, by which rollout, and when, ms UTC."""

    reason: str
    rollout: str
    at_ms: int


_ADAPTER = TypeAdapter(Rollout)

# What a person can do with an open rollout. The arguments are the rollout, the reason, and the time in ms UTC.
TRANSITIONS: Mapping[str, Callable[[Rollout, str, int], Rollout]] = {
    "pause": lambda rollout, why, _: rollout.paused(why),
    "resume": lambda rollout, _, now_ms: rollout.resumed(now_ms),
    "promote": lambda rollout, why, now_ms: rollout.promoted(why, now_ms),
    "abort": lambda rollout, why, now_ms: rollout.aborted(why, now_ms),
}
