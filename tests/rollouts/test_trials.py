"""Both versions in one worker: who gets which, what is compared, and what a broken canary costs."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pictures
import pytest
from numpy.typing import NDArray
from services import wait_until
from specs import submit
from versions import publish

from model.litert import LiteRTEngine
from storage import keys
from storage.connection import Storage
from storage.job import Job, Status
from storage.keys import Lane
from storage.rollouts import counts
from storage.rollouts.rollout import Policy
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

PHOTOS = 64
Logits = Callable[[Any, NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    """pets/8 (stable), and pets/9 on its way to replace it."""
    publish(own_store, tmp_path / "source", "8", "9")
    own_store.jobs.workers.beat("worker", 60_000)
    own_store.rollouts.start("pets/9", Policy(steps=(0.5,), shadow=0.5, step_s=0), "ops")
    return own_store


def worker(storage: Storage) -> Pipeline:
    """A worker that has loaded both versions."""
    engines = Engines(storage)
    for version in ("pets/8", "pets/9"):
        engines.load(version)
    return Pipeline(storage, engines, "worker")


@pytest.fixture
def misbehaves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace what the engine of pets/9 does, and that of pets/8.

    Each function gets the engine's own method and the photos.
    """
    made, init = LiteRTEngine.logits, LiteRTEngine.__init__

    def behave(canary: Logits, stable: Logits = lambda usual, images: usual(images)) -> None:
        def noting(self: Any, path: Path, card: Any, *more: Any) -> None:
            init(self, path, card, *more)
            self.version = card.version

        def logits(self: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            engine = canary if self.version == "9" else stable
            return engine(lambda photos: made(self, photos), images)

        monkeypatch.setattr(LiteRTEngine, "__init__", noting)
        monkeypatch.setattr(LiteRTEngine, "logits", logits)

    return behave


@pytest.fixture
def _slow_canary(misbehaves: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary's engine takes twice as long as stable's, on a clock that only engines advance.

    On a busy machine, the times of a real clock would be chance.
    """
    seconds = [0.0]

    def taking(added: float) -> Logits:
        def logits(usual: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = usual(images)
            seconds[0] += added
            return found

        return logits

    misbehaves(taking(2), taking(1))
    for name in ("drain", "micro_batch", "trials"):
        monkeypatch.setattr(f"worker.pipeline.{name}.time", SimpleNamespace(monotonic=lambda: seconds[0]))


def segmented(storage: Storage, pipeline: Pipeline) -> list[Job]:
    made = [submit(storage, pictures.jpeg(seed=number), lane=Lane.BULK) for number in range(PHOTOS)]
    pipeline.run("drainer")
    found = [storage.jobs.get(one.id) for one in made]
    return [job for job in found if job]


def counted(storage: Storage) -> dict[str, int]:
    rollout = storage.rollouts.current(fresh=True)
    assert rollout
    return dict(counts.with_counts(storage.jobs.client, rollout).step.counts)


def test_each_job_names_the_version_that_made_its_mask(storage: Storage) -> None:
    jobs = segmented(storage, worker(storage))
    assert {job.status for job in jobs} == {Status.SUCCEEDED}
    versions = {job.id: job.outcome.model["version"] for job in jobs if job.outcome and job.outcome.model}
    assert versions == {job.id: "9" if job.arm.endswith("canary") else "8" for job in jobs}
    assert set(versions.values()) == {"8", "9"}
    found = counted(storage)
    assert found["canary.ended"] + found["stable.ended"] == PHOTOS


def test_equal_versions_agree_on_shadowed_photos(storage: Storage) -> None:
    segmented(storage, worker(storage))
    found = counted(storage)
    assert found["shadowed"] > 0 == found.get("differing", 0)
    names = ("pet", "background", "border")
    pixels = {name: (found.get(counts.both(name), 0), found.get(counts.either(name), 0)) for name in names}
    assert all(both == either for both, either in pixels.values())
    size = storage.models.card("pets/8")
    assert size
    assert sum(both for both, _ in pixels.values()) == found["shadowed"] * size["input_size"] ** 2
    by_bin = [found.get(counts.by_confidence(counts.SHADOWED, index), 0) for index in range(counts.BINS)]
    assert sum(by_bin) == found["shadowed"]


@pytest.mark.usefixtures("_slow_canary")
def test_micro_batches_of_one_size_are_timed_in_pairs(storage: Storage) -> None:
    pipeline = worker(storage)
    for _ in range(3):
        segmented(storage, pipeline)
    found = counted(storage)
    assert found["timed"] == found["slower"] > 0


@pytest.mark.usefixtures("_slow_canary")
def test_a_small_canary_is_timed_on_shadows_although_stables_micro_batches_are_full(storage: Storage) -> None:
    rollout = storage.rollouts.current()
    assert rollout
    below, pipeline = rollout.step.below, worker(storage)
    ids: dict[bool, list[str]] = {True: [], False: []}
    while len(ids[True]) < 3 or len(ids[False]) < 48:
        made = keys.new_job_id()
        ids[int(made[-4:], 16) < below].append(made)
    for _ in range(3):  # no micro-batch of the canary's has the size of one of stable's
        for job_id in [*(ids[False].pop() for _ in range(16)), ids[True].pop()]:
            submit(storage, pictures.jpeg(), lane=Lane.BULK, id=job_id)
        pipeline.run("drainer")
    found = counted(storage)
    assert found["timed"] == found["slower"] > 0


def test_a_canary_that_finds_other_classes_differs_on_every_shadowed_photo(
    storage: Storage, misbehaves: Callable[..., None]
) -> None:
    misbehaves(lambda usual, images: np.roll(usual(images), 1, axis=-1))
    jobs = segmented(storage, worker(storage))
    found = counted(storage)
    assert found["shadowed"] == found["differing"] > 0
    served = [job.outcome.model["version"] for job in jobs if job.shadow and job.outcome and job.outcome.model]
    assert set(served) <= {"8"}


def test_a_shadow_that_fails_costs_its_owner_nothing(storage: Storage, misbehaves: Callable[..., None]) -> None:
    def broken(usual: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("no")

    misbehaves(broken)
    jobs = segmented(storage, worker(storage))
    by_arm = {job.arm.rpartition(":")[2]: set[Status]() for job in jobs}
    for job in jobs:
        by_arm[job.arm.rpartition(":")[2]].add(job.status)
    assert by_arm == {"stable": {Status.SUCCEEDED}, "canary": {Status.FAILED}}
    found = counted(storage)
    assert found["canary.failed"] == found["canary.ended"]
    assert found["shadowed"] == found["differing"] > 0


def test_until_the_canary_is_loaded_the_worker_says_so(storage: Storage) -> None:
    engines = Engines(storage)
    engines.load("pets/8")
    offered = engines.offer().canary  # begins to load it
    assert offered
    assert not offered.loaded
    wait_until(lambda: (canary := engines.offer().canary) and canary.loaded, "the canary to be loaded")
    assert set(engines.loaded) == {"pets/8", "pets/9"}


def test_a_paused_rollout_offers_no_canary(storage: Storage) -> None:
    engines = Engines(storage)
    for version in ("pets/8", "pets/9"):
        engines.load(version)
    assert engines.offer().canary
    storage.rollouts.change(lambda rollout: rollout.paused(""))
    assert engines.offer().canary is None
