"""Model versions on a worker: loading several, swapping, and refusing broken ones without failing jobs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
import services
from PIL import Image
from specs import submit
from versions import publish, sign

from model.card import Card
from model.segmenter import Segmenter
from storage import keys
from storage.connection import Storage
from storage.job import Job, Status
from storage.models import Alias
from storage.objects import MODELS
from storage.problems import Unavailable
from worker import engines as module
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

FILE = "int8.tflite"


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    """pets/8 (stable) and pets/9."""
    publish(own_store, tmp_path / "source", "8", "9")
    own_store.jobs.workers.beat("worker", 60_000)
    return own_store


@pytest.fixture
def engines(storage: Storage) -> Engines:
    return Engines(storage)


@pytest.fixture
def run(storage: Storage, engines: Engines) -> Callable[[], None]:
    pipeline = Pipeline(storage, engines, "worker")
    return lambda: pipeline.run("drainer")


@pytest.fixture(autouse=True)
def _aliases_are_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.models.FRESH_S", 0.0)


def job(storage: Storage, job_id: str) -> Job:
    found = storage.jobs.get(job_id)
    assert found is not None
    return found


def version_of(storage: Storage, job_id: str) -> str:
    outcome = job(storage, job_id).outcome
    assert outcome
    assert outcome.model
    return "/".join(outcome.model.values())


def damage(storage: Storage, version: str, kind: str, tmp_path: Path) -> str:
    """Damage a version. Returns a part of the reason for the refusal."""
    key, good = f"{version}/{FILE}", storage.objects.get(MODELS, f"{version}/{FILE}") or b""
    if kind == "missing":
        storage.objects.remove(MODELS, key)
        return "is missing"
    if kind in ("truncated", "altered"):
        content = good[:-1000] if kind == "truncated" else good[:5000] + b"\0\1\2\3" + good[5004:]
        storage.objects.put(MODELS, key, content, "application/octet-stream")
        return "is damaged"
    folder = tmp_path / "source" / version
    card = Card.load(folder)
    if kind == "wrong classes":
        replace(card, labels=card.labels[:2]).save(folder)
    elif kind == "wrong size":
        replace(card, input_size=64).save(folder)
    else:
        (folder / FILE).write_bytes(b"this is no model at all" * 1000)
        sign(folder)
    for name in (FILE, "card.json"):
        storage.objects.put(MODELS, f"{version}/{name}", (folder / name).read_bytes(), "application/octet-stream")
    return FILE


DAMAGES = ("missing", "truncated", "altered", "wrong classes", "wrong size", "no model")


def test_a_moved_alias_is_followed_without_a_pause(storage: Storage, engines: Engines, run: Callable[[], None]) -> None:
    first = submit(storage)
    run()
    storage.models.point(Alias.STABLE, "pets/9")
    meanwhile = submit(storage)
    run()  # the old version serves while the new one is loading
    services.wait_until(lambda: engines.offer().version("stable") == "pets/9", "pets/9 to be loaded")
    after = submit(storage)
    run()
    assert [version_of(storage, one.id) for one in (first, meanwhile, after)] == ["pets/8", "pets/8", "pets/9"]
    assert {job(storage, one.id).attempt for one in (first, meanwhile, after)} == {1}


def is_refused(storage: Storage, version: str) -> bool:
    """Whether the worker's last report says that the version is refused."""
    [report] = storage.jobs.workers.reports().values()
    return version in report.refused


@pytest.fixture
def _long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postpone the next try, so that the worker keeps reporting the refusal."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 60)


@pytest.mark.usefixtures("_long_pause")
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_broken_version_is_refused_and_the_last_good_one_serves(
    storage: Storage, engines: Engines, run: Callable[[], None], tmp_path: Path, kind: str
) -> None:
    submit(storage)
    run()
    expected = damage(storage, "pets/9", kind, tmp_path)
    storage.models.point(Alias.STABLE, "pets/9")
    made = [submit(storage)]
    run()
    services.wait_until(lambda: engines.offer() and engines.refusals, "the refusal")
    made.append(submit(storage))
    run()
    assert [version_of(storage, one.id) for one in made] == ["pets/8", "pets/8"]
    assert expected in engines.refusals["pets/9"]
    assert "pets/9" in engines.refusals["pets/9"]
    assert "\n" not in engines.refusals["pets/9"]


@pytest.mark.parametrize("kind", ["altered", "missing"])
def test_without_a_good_version_no_job_fails_and_a_repaired_one_is_used(
    storage: Storage, run: Callable[[], None], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.3)
    damage(storage, "pets/8", kind, tmp_path)
    made = submit(storage)
    run()
    run()
    waiting = job(storage, made.id)
    assert (waiting.status, waiting.attempt) == (Status.QUEUED, 1)
    assert storage.jobs.client.hget(keys.job(made.id), "losses") == "0"
    assert storage.jobs.outlook(made.id).waiting_reason == "model_loading"
    services.wait_until(lambda: run() or is_refused(storage, "pets/8"), "the refusal")  # type: ignore[func-returns-value]
    storage.models.publish(tmp_path / "source" / "pets" / "8")
    services.wait_until(lambda: run() or job(storage, made.id).status is Status.SUCCEEDED, "the next try")  # type: ignore[func-returns-value]
    assert storage.jobs.outlook(submit(storage).id).waiting_reason != "model_loading"


def test_jobs_of_a_broken_version_do_not_delay_other_jobs(
    storage: Storage, run: Callable[[], None], tmp_path: Path
) -> None:
    """Forty jobs at the head of the queue need a version that cannot be loaded; the rest is served."""
    damage(storage, "pets/9", "altered", tmp_path)
    pinned = [submit(storage, model="pets/9") for _ in range(40)]
    others = [submit(storage) for _ in range(20)]
    run()
    assert {job(storage, one.id).status for one in others} == {Status.SUCCEEDED}
    assert {job(storage, one.id).status for one in pinned} == {Status.QUEUED}
    assert storage.jobs.outlook(pinned[0].id).waiting_reason == "model_loading"


def test_pinned_jobs_get_their_version_whatever_is_stable(storage: Storage, run: Callable[[], None]) -> None:
    made = [submit(storage, model="pets/9" if i % 2 else "stable") for i in range(40)]
    run()
    assert [version_of(storage, one.id) for one in made] == ["pets/8", "pets/9"] * 20
    # Each micro-batch collects the jobs of its version from the whole queue.
    assert [job(storage, one.id).micro_batch for one in made] == [16] * 32 + [4] * 8


def test_alias_and_pin_of_one_version_share_their_micro_batches(storage: Storage, run: Callable[[], None]) -> None:
    made = [submit(storage, model="pets/8" if i % 2 else "stable") for i in range(16)]
    run()
    assert [job(storage, one.id).micro_batch for one in made] == [16] * 16


def test_a_pinned_version_that_has_vanished_fails_its_jobs(storage: Storage, run: Callable[[], None]) -> None:
    for name in ("card.json", FILE):
        storage.objects.remove(MODELS, f"pets/9/{name}")
    gone, good = submit(storage, model="pets/9"), submit(storage)
    run()
    ended = job(storage, gone.id)
    assert ended.status is Status.FAILED
    assert ended.outcome
    assert ended.outcome.error
    assert ended.outcome.error["code"] == "model_unavailable"
    assert job(storage, good.id).status is Status.SUCCEEDED


def test_jobs_of_an_alias_whose_version_has_vanished_wait(storage: Storage, run: Callable[[], None]) -> None:
    for name in ("card.json", FILE):
        storage.objects.remove(MODELS, f"pets/8/{name}")
    made = submit(storage)
    run()
    assert job(storage, made.id).status is Status.QUEUED
    storage.models.point(Alias.STABLE, "pets/9")
    run()
    assert version_of(storage, made.id) == "pets/9"


def test_at_most_two_versions_are_loaded(
    storage: Storage, engines: Engines, run: Callable[[], None], tmp_path: Path
) -> None:
    publish(storage, tmp_path / "source", "10", "11")
    for model in ("stable", "pets/9", "pets/10", "pets/11", "stable"):
        made = submit(storage, model=model)
        run()
        assert job(storage, made.id).status is Status.SUCCEEDED
        assert len(engines.loaded) <= 2
    assert engines.loaded == ["pets/11", "pets/8"]


def test_an_outage_while_loading_is_not_a_refusal(
    storage: Storage, engines: Engines, run: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("object store: down")

    made = submit(storage)
    with monkeypatch.context() as broken:
        broken.setattr(storage.models, "fetch", down)
        run()
    assert not engines.refusals
    run()
    assert job(storage, made.id).status is Status.SUCCEEDED


def test_each_mask_is_computed_by_the_version_it_names(
    storage: Storage, run: Callable[[], None], tmp_path: Path
) -> None:
    content = pictures.encoded(pictures.photo(128, 128), "PNG")
    made = submit(storage, content, model="pets/9")
    run()
    done = job(storage, made.id)
    png = storage.objects.get("results", done.result_key)
    assert png
    path = tmp_path / "mask.png"
    path.write_bytes(png)
    with Image.open(path) as image:
        assert image.info["segue:model"] == "pets/9"
        offline = Segmenter(tmp_path / "source" / "pets" / "9").masks([pictures.photo(128, 128)])[0]
        np.testing.assert_array_equal(np.asarray(image), offline)
