"""Simulated rollouts: jobs with known error rates, decided on by the real rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from storage.rollouts import counts
from storage.rollouts.deciding import Action, Decision, decide
from storage.rollouts.rollout import Arm, Policy, Rollout, State, Step


@dataclass(frozen=True)
class Rates:
    """Probabilities: that a job fails, that a mask is called bad, that a micro-batch exceeds the canary's
    limit of time, that the masks of both versions differ.
    """

    fails: float = 0.005
    bad: float = 0.01
    slower: float = 0.2
    differs: float = 0.013  # pets/3 and pets/2, on 150 gate photos


STABLE = Rates()
SECONDS_PER_JOB, PAIRS_PER_JOB = 0.02, 0.02


def rollout(policy: Policy | None = None, *steps: Mapping[str, int]) -> Rollout:
    """A running rollout from pets/3 to pets/4 that has counted this, a mapping for each step."""
    policy = policy or Policy()
    made = tuple(Step(share, 0, step) for share, step in zip(policy.steps, steps or ({},), strict=False))
    return Rollout(f"rol_{'0' * 32}", "pets/4", "pets/3", "ops", 0, policy, made)


def simulated(
    rng: np.random.Generator, canary: Rates, policy: Policy, tick: int = 50, most: int = 20_000
) -> tuple[State, int, float]:
    """Run a rollout until it ends, or until `most` jobs. It is decided on after every `tick` jobs.

    Returns its state, the number of jobs of both versions, and the number that the canary got.
    """
    running, jobs, served = rollout(policy), 0, 0.0
    while jobs < most:
        jobs += tick
        step, counted = running.step, _counted(rng, running.step.share, canary, policy, tick)
        served += counted[counts.ended(Arm.CANARY)]
        step = replace(step, counts={name: step.count(name) + amount for name, amount in counted.items()})
        running = replace(running, steps=(*running.steps[:-1], step))
        now_ms = round(jobs * SECONDS_PER_JOB * 1000)
        running = _next(running, decide(running, now_ms), now_ms)
        if running.state.final:
            break
    return running.state, jobs, served


def _next(running: Rollout, decision: Decision, now_ms: int) -> Rollout:
    if decision.action is Action.ROLL_BACK:
        return running.rolled_back(decision.reason, now_ms)
    return running.advanced("", now_ms) if decision.action is Action.ADVANCE else running


def _counted(rng: np.random.Generator, share: float, canary: Rates, policy: Policy, jobs: int) -> dict[str, int]:
    """What `jobs` jobs add to the counts."""
    of_canary = int(rng.binomial(jobs, share))
    found: dict[str, int] = {}
    for arm, number, rates in ((Arm.CANARY, of_canary, canary), (Arm.STABLE, jobs - of_canary, STABLE)):
        found[counts.ended(arm)] = number
        found[counts.failed(arm)] = int(rng.binomial(number, rates.fails))
        found[counts.bad(arm)] = int(rng.binomial(number, rates.bad))
    found[counts.TIMED] = int(rng.binomial(jobs, PAIRS_PER_JOB))
    found[counts.SLOWER] = int(rng.binomial(found[counts.TIMED], canary.slower))
    found[counts.SHADOWED] = int(rng.binomial(jobs - of_canary, policy.shadow))
    found[counts.DIFFERING] = int(rng.binomial(found[counts.SHADOWED], canary.differs))
    return found
