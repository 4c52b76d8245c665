"""Compares the two versions of a rollout: the time of their micro-batches, and their masks on shadowed photos.

A shadowed photo is one of stable's that the canary segments too; its owner gets stable's mask.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import redis
from numpy.typing import NDArray

from model.card import Card
from model.images import confidence
from model.masks import to_mask
from model.segmenter import Segmenter
from storage.connection import Storage
from storage.rollouts import counts
from storage.rollouts.rollout import Arm, Policy
from worker.pipeline.micro_batch import Item, MicroBatch

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """A micro-batch of stable's that waits for one of the canary's to be compared with."""

    trial: str
    seconds: float


class Trials:
    """What a process compares while a rollout runs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stable: dict[int, Run] = {}  # the last one of each size, until it is compared
        self._canary_first = False
        self._warm: set[str] = set()  # versions whose first micro-batch, a slow one, has passed

    def compare(self, micro_batch: MicroBatch, seconds: float) -> None:
        """`seconds`: the time that the engine took for all items. Nothing is lost if the counts cannot be stored."""
        arm = next((item.job.arm for item in micro_batch.items if item.job.arm), "")
        rollout = self._storage.rollouts.current()
        if not arm or not rollout or not arm.startswith(rollout.id) or micro_batch.isolated:
            return
        trial, _, name = arm.rpartition(":")
        found = self._timed(micro_batch, trial, Arm(name), seconds, rollout.policy.slower)
        shadowed = [item for item in micro_batch.items if item.shadow_pixels is not None and item.logits is not None]
        if shadowed and micro_batch.shadow:
            self._count(trial, Counter({counts.BEGUN: len(shadowed)}))  # it may crash this process
            found += self._shadowed(micro_batch.segmenter, micro_batch.shadow, shadowed, rollout.policy)
        self._count(trial, found)

    def _count(self, trial: str, found: Counter[str]) -> None:
        rollout_id, _, step = trial.rpartition(":")
        try:
            if found:
                counts.add(self._storage.jobs.client, rollout_id, int(step), found)
        except redis.RedisError as error:
            log.warning("comparison_not_counted", extra={"rollout": rollout_id, "error": type(error).__name__})

    def _timed(self, micro_batch: MicroBatch, trial: str, arm: Arm, seconds: float, limit: float) -> Counter[str]:
        """Pair a micro-batch of the canary's with the last one of stable's that has the same size.

        Each is in one pair at most, so pairs are independent; both ran in this process, one soon after the other.
        """
        version, size = micro_batch.segmenter.card.id, len(micro_batch.items)
        if version not in self._warm:
            self._warm.add(version)
        elif arm is Arm.STABLE:
            self._stable[size] = Run(trial, seconds)
        elif (before := self._stable.pop(size, None)) and before.trial == trial:
            return _slower(seconds, before.seconds, limit)
        return Counter()

    def _shadowed(self, stable: Segmenter, canary: Segmenter, items: Sequence[Item], policy: Policy) -> Counter[str]:
        """Segment stable's photos with the canary too, and compare the masks at stable's input size.

        A photo that the canary cannot segment counts as one on which the masks differ.

        Stable segments these photos once more, so that both have the same work at the same time: while many jobs
        wait, stable's micro-batches are full, those of a canary with a small share are not, and none makes a pair.
        """
        repeated = Pass(stable, np.stack([item.pixels for item in items if item.pixels is not None]))
        shadow = Pass(canary, np.stack([item.shadow_pixels for item in items if item.shadow_pixels is not None]))
        self._canary_first = not self._canary_first  # the second one finds fuller caches, or fewer busy threads
        try:
            for one in (shadow, repeated) if self._canary_first else (repeated, shadow):
                one.run()
        except Exception:
            log.exception("shadow_failed", extra=items[0].job.spec.log_fields)
        found: Counter[str] = Counter()
        if shadow.seconds and repeated.seconds and {stable.card.id, canary.card.id} <= self._warm:
            found += _slower(shadow.seconds, repeated.seconds, policy.slower)
        for index, item in enumerate(items):
            if item.logits is not None:
                other = None if shadow.logits is None else shadow.logits[index]
                found.update(_compared(item.logits, other, stable.card, canary.card, policy.pixels))
        return found


class Pass:
    """One forward pass, timed."""

    def __init__(self, segmenter: Segmenter, images: NDArray[np.uint8]) -> None:
        self._segmenter, self._images = segmenter, images
        self.logits: NDArray[np.float32] | None = None
        self.seconds = 0.0

    def run(self) -> None:
        started = time.monotonic()
        self.logits = self._segmenter.engine.logits(self._images)
        self.seconds = time.monotonic() - started


def _slower(seconds: float, usual: float, limit: float) -> Counter[str]:
    return Counter({counts.TIMED: 1, counts.SLOWER: int(seconds > limit * usual)})


def _compared(
    ours: NDArray[np.float32], theirs: NDArray[np.float32] | None, stable: Card, canary: Card, pixels: float
) -> Counter[str]:
    """The counts of one photo. `ours`, `theirs`: logits of stable and of the canary; None if it has failed."""
    index, found, differ = counts.bin_of(float(confidence(ours).mean())), Counter[str](), True
    names = [label.name for label in stable.labels]
    if theirs is not None and names == [label.name for label in canary.labels]:
        height, width = ours.shape[:2]
        mine, other = to_mask(ours, width, height), to_mask(theirs, width, height)
        differ = float(np.mean(mine != other)) >= pixels
        for class_id, name in enumerate(names):
            in_mine, in_other = mine == class_id, other == class_id
            found[counts.both(name)] = int(np.count_nonzero(in_mine & in_other))
            found[counts.either(name)] = int(np.count_nonzero(in_mine | in_other))
    for name, amount in ((counts.SHADOWED, 1), (counts.DIFFERING, int(differ))):
        found[name] += amount
        found[counts.by_confidence(name, index)] += amount
    return found
