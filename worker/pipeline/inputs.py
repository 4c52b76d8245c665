"""Counts at most one photo of each micro-batch in the bins of its version's profile, in a thread of its own."""

import logging
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor

import redis

from model.card import Card
from model.inputs import Values, of_pixels, of_result, of_size
from storage.connection import Storage
from storage.inputs.counts import add
from storage.inputs.profile import Profile
from storage.job import Finished, Outcome, Status
from storage.problems import Unavailable
from worker.pipeline.micro_batch import Item

REREAD_S = 600.0  # a profile may be added or replaced, so it is read again after this time

log = logging.getLogger(__name__)


class Inputs:
    """The thread, and the profiles of the versions that this process has used."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, "inputs")
        self._counting: Future[None] | None = None
        self._profiles: dict[str, tuple[float, Profile | None]] = {}  # version → when it was read, monotonic seconds

    def count(self, card: Card, items: list[Item], finished: list[Finished]) -> None:
        """Count one photo that succeeded, chosen at random. Returns at once.

        Counts no re-runs, because their photos are not today's, and nothing while an earlier call still waits for Redis
        or the object store.
        """
        rows = zip(items, finished, strict=True)
        done = [
            (item, one.outcome)
            for item, one in rows
            if one.outcome.status is Status.SUCCEEDED and not item.job.spec.erase_by_ms
        ]
        if done and (self._counting is None or self._counting.done()):
            self._counting = self._thread.submit(self._count, card, *random.choice(done))

    def _count(self, card: Card, item: Item, outcome: Outcome) -> None:
        try:
            if profile := self._profile(card.id):
                add(self._storage.jobs.client, card.id, profile, profile.bins(values_of(item, outcome)))
        except (redis.RedisError, Unavailable) as error:
            log.warning("inputs_not_counted", extra={"model": card.id, "error": str(error)})
        except Exception:  # the photo is segmented; without this, a fault here would be lost in the thread
            log.exception("inputs_not_counted", extra={"model": card.id})

    def _profile(self, version: str) -> Profile | None:
        read_at, known = self._profiles.get(version, (-REREAD_S, None))
        if time.monotonic() - read_at >= REREAD_S:
            self._profiles[version] = time.monotonic(), known  # if the read fails, do not repeat it for each photo
            content = self._storage.models.profile(version)
            known = Profile.from_json(content) if content else None
            self._profiles[version] = time.monotonic(), known
        return known


def values_of(item: Item, outcome: Outcome) -> Values:
    """The features of a photo that succeeded. Raises ValueError if its pixels or its result are missing."""
    if item.pixels is None or outcome.result is None:
        raise ValueError("no pixels or no result: the item has not succeeded")
    spec, result = item.job.spec, outcome.result
    shares = {one["name"]: one["fraction"] for one in result["classes"]}
    return {
        **of_pixels(item.pixels),
        **of_size(spec.width, spec.height, spec.format),
        **of_result(result["confidence"], shares),
    }
