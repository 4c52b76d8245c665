"""What is counted while a rollout runs: in Redis first, then in the rollout itself.

Redis has one hash per rollout, with a field `{step}:{name}` for each count. Redis functions count the ends of jobs and
the verdicts on them, because the job hash contains the arm; workers count their comparisons. The hash expires KEPT_S
after its last count. If Redis loses it, the next count begins a new one with another value in the field `generation`.

    {arm}.ended        jobs that succeeded, or failed through a fault of the model
    {arm}.failed       of these, the jobs that failed
    {arm}.lost         jobs that have lost a lease, counted at their first loss
    {arm}.settled      of these, the jobs that have ended since
    {arm}.bad          jobs whose mask a person has called bad, or has corrected
    timed              pairs of passes over equally many photos, one by each version
    slower             of these, the pairs in which the canary took longer than the limit allows
    begun              photos that the canary has begun to segment too
    shadowed           photos that both versions have segmented
    differing          of these, the photos whose two masks differ
    confidence.{bin}.shadowed, confidence.{bin}.differing     the same, for each bin of stable's mean confidence
    both.{class}, either.{class}     pixels that both versions, and that at least one, gave to the class
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import redis

from storage import keys
from storage.rollouts.rollout import Arm, Rollout

TIMED, SLOWER, BEGUN, SHADOWED, DIFFERING = "timed", "slower", "begun", "shadowed", "differing"
GENERATION, KEPT_S = "generation", 30 * 24 * 3600
BINS, LOWEST, HIGHEST = 10, 0.5, 1.0  # bins of confidence of equal width; the first one holds lower values too


def ended(arm: Arm) -> str:
    return f"{arm}.ended"


def failed(arm: Arm) -> str:
    return f"{arm}.failed"


def lost(arm: Arm) -> str:
    return f"{arm}.lost"


def settled(arm: Arm) -> str:
    return f"{arm}.settled"


def bad(arm: Arm) -> str:
    return f"{arm}.bad"


def bin_of(confidence: float) -> int:
    """The index, from 0, of the bin that holds this mean confidence of a mask."""
    place = int((confidence - LOWEST) / (HIGHEST - LOWEST) * BINS + 1e-9)  # 0.65 belongs to the bin that it begins
    return min(BINS - 1, max(0, place))


def by_confidence(name: str, index: int) -> str:
    """The name of the count SHADOWED or DIFFERING (`name`) for one bin of confidence."""
    return f"confidence.{index}.{name}"


def both(label: str) -> str:
    return f"both.{label}"


def either(label: str) -> str:
    return f"either.{label}"


def add(client: redis.Redis, rollout_id: str, step: int, amounts: Mapping[str, int]) -> None:
    """Add a worker's counts. Raises redis.RedisError."""
    key = keys.rollout(rollout_id)
    with client.pipeline() as pipe:
        pipe.hsetnx(key, GENERATION, keys.new_token())
        for name, amount in amounts.items():
            pipe.hincrby(key, f"{step}:{name}", amount)
        pipe.expire(key, KEPT_S)
        pipe.execute()


def with_counts(client: redis.Redis, rollout: Rollout) -> Rollout:
    """The rollout with everything added that Redis has counted since the rollout was last stored.

    The caller stores the result. If it is killed before that, the next call adds the same counts again, to the old
    state. Counts that Redis loses before they are read are missing. If Redis returns in an older state, its counts are
    lower than those read before, and jobs that end once more are not counted twice. Raises redis.RedisError.
    """
    found = cast(dict[str, str], client.hgetall(keys.rollout(rollout.id)))
    generation = found.pop(GENERATION, "")
    counters = {name: int(count) for name, count in found.items()}
    before = rollout.read if generation == rollout.read_from else {}
    new = {name: max(0, count - before.get(name, 0)) for name, count in counters.items()}
    steps = tuple(
        replace(step, counts=_sum(step.counts, _of_step(new, number))) for number, step in enumerate(rollout.steps)
    )
    read = {name: max(count, before.get(name, 0)) for name, count in {**before, **counters}.items()}
    return replace(rollout, steps=steps, read=read, read_from=generation)


def _of_step(counters: Mapping[str, int], number: int) -> dict[str, int]:
    prefix = f"{number}:"
    return {name.removeprefix(prefix): count for name, count in counters.items() if name.startswith(prefix)}


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *(set(second) - set(first)))}
