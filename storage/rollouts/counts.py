"""What is counted while a rollout runs: in Redis first, then in the rollout itself.

Redis has one hash per rollout, with a field `{step}:{name}` for each count. Redis' functions count the ends of jobs and
the verdicts on them, because the job hash knows the arm; workers count their comparisons. The hash lives until the
rollout is long over. Its field `generation` is another one if Redis has lost the hash meanwhile.

    {arm}.ended        jobs that succeeded, or failed through a fault of the model
    {arm}.failed       those of them that failed
    {arm}.lost         jobs that have lost a lease, counted at their first loss
    {arm}.settled      those of them that have ended since, whatever their end
    {arm}.bad          jobs whose mask a person has called bad, or has corrected
    timed, slower      comparisons of two micro-batches of one size; those in which the canary exceeded its limit
    begun              photos that the canary has begun to segment too
    shadowed           photos that both versions have segmented
    differing          those on whose masks they differ
    confidence.{bin}.shadowed, confidence.{bin}.differing     the same, by stable's mean confidence
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
BINS, LOWEST, HIGHEST = 10, 0.5, 1.0  # of confidence: equally wide; a lower one is in the first


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
    """The place of the bin of a mask's mean confidence, from 0."""
    place = int((confidence - LOWEST) / (HIGHEST - LOWEST) * BINS + 1e-9)  # 0.65 is the beginning of a bin
    return min(BINS - 1, max(0, place))


def by_confidence(name: str, index: int) -> str:
    """`name`: SHADOWED or DIFFERING."""
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
    """The rollout with everything that Redis has counted since the last call on its stored form.

    Storing the result is what remembers it: after a kill before that, the next call returns the same. Counts that Redis
    has lost since the last call are missing. In an older state of Redis, counts are lower than they were; jobs that end
    once more then are not counted twice.
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
