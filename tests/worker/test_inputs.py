"""What a worker counts of the photos that it segments."""

import logging
from collections.abc import Iterator
from typing import Any

import pictures
import pytest
import redis
from services import SHIPPED_MODEL
from specs import submit

from model.inputs import INPUTS
from storage import clock, keys
from storage.connection import Storage
from storage.inputs import counts
from storage.inputs.counts import HOUR_MS, KEPT_S, add, window
from storage.inputs.profile import Profile
from storage.job import Spec, Status
from worker.engines import Engines
from worker.pipeline import inputs
from worker.pipeline.pipeline import Pipeline

PROFILE = Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes())


@pytest.fixture
def published(own_store: Storage) -> Storage:
    own_store.models.publish(SHIPPED_MODEL)
    return own_store


@pytest.fixture
def pipeline(published: Storage) -> Iterator[Pipeline]:
    made = Pipeline(published, Engines(published), "worker")
    yield made
    settle(made)


def settle(pipeline: Pipeline) -> None:
    """Wait until everything is counted."""
    pipeline._workplace.inputs._thread.shutdown()


def run(pipeline: Pipeline) -> None:
    pipeline.run("drainer")
    settle(pipeline)


def status(storage: Storage, spec: Spec) -> Status:
    found = storage.jobs.get(spec.id)
    assert found
    return found.status


def counted(storage: Storage) -> counts.Window:
    return window(storage.jobs.client, "pets/3", PROFILE, 2)


def test_one_photo_of_a_micro_batch_is_counted(published: Storage, pipeline: Pipeline) -> None:
    dark = [
        submit(published, pictures.encoded(pictures.photo(64, 48, seed).point(lambda v: v // 8))) for seed in range(5)
    ]
    submit(published, pictures.truncated_jpeg())
    run(pipeline)
    assert {status(published, spec) for spec in dark} == {Status.SUCCEEDED}
    found = counted(published)
    assert found.photos == 1
    assert {sum(numbers) for numbers in found.counted.values()} == {1}
    assert found.counted["brightness"][0] == 1
    assert found.counted["megapixels"][0] == 1
    assert found.counted["format"][0] == 1


def test_the_photo_is_chosen_at_random_among_those_that_succeeded(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[set[str]] = []

    def choose(rows: list[Any]) -> Any:
        offered.append({item.job.id for item, _ in rows})
        return rows[-1]

    monkeypatch.setattr(inputs.random, "choice", choose)
    good = [submit(published, pictures.jpeg(64, 48 + seed, seed)).id for seed in range(3)]
    submit(published, pictures.truncated_jpeg())
    run(pipeline)
    assert offered == [set(good)]


def test_nothing_is_counted_if_none_succeeds(published: Storage, pipeline: Pipeline) -> None:
    submit(published, pictures.truncated_jpeg())
    run(pipeline)
    assert counted(published).photos == 0


def test_nothing_is_counted_without_a_profile(own_store: Storage, tmp_path: Any, caplog: Any) -> None:
    from versions import version_folder

    folder = version_folder(tmp_path, "9")
    (folder / INPUTS).unlink()
    own_store.models.publish(folder)
    pipeline = Pipeline(own_store, Engines(own_store), "worker")
    spec = submit(own_store)
    run(pipeline)
    assert status(own_store, spec) is Status.SUCCEEDED
    assert own_store.jobs.client.keys(f"{keys.PREFIX}inputs:*") == []
    assert "inputs_not_counted" not in caplog.text


@pytest.mark.parametrize("fault", ["redis", "profile"])
def test_a_failure_to_count_costs_no_mask(
    published: Storage,
    pipeline: Pipeline,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def down(*_: object) -> None:
        raise redis.ConnectionError("no answer")

    if fault == "redis":
        monkeypatch.setattr(inputs, "add", down)
    else:
        published.models.put_profile("pets/3", b"{}")
    spec = submit(published)
    run(pipeline)
    assert status(published, spec) is Status.SUCCEEDED
    [line] = [record for record in caplog.records if record.message == "inputs_not_counted"]
    assert line.levelno == (logging.WARNING if fault == "redis" else logging.ERROR)


def test_a_profile_that_was_added_later_is_used(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (SHIPPED_MODEL / INPUTS).read_bytes()
    counter = pipeline._workplace.inputs
    published.models.put_profile("pets/3", content.replace(b"3376", b"3377"))
    before = counter._profile("pets/3")
    published.models.put_profile("pets/3", content)
    assert counter._profile("pets/3") is before
    monkeypatch.setattr(inputs, "REREAD_S", 0.0)
    assert counter._profile("pets/3") == PROFILE


def test_a_window_ends_with_the_current_hour(published: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    client, now_ms = published.jobs.client, clock.now_ms()
    for age_h in (0, 1, 1, 5):
        monkeypatch.setattr(clock, "now_ms", lambda age_h=age_h: now_ms - age_h * HOUR_MS)
        add(client, "pets/3", PROFILE, {"brightness": age_h, "share:pet": 9})
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms)
    assert [window(client, "pets/3", PROFILE, hours).photos for hours in (1, 2, 5, 6)] == [1, 3, 3, 4]
    found = window(client, "pets/3", PROFILE, 6).counted
    assert found["brightness"] == [1, 2, 0, 0, 0, 1, 0, 0, 0, 0]
    assert found["share:pet"][9] == 4
    key = keys.inputs("pets/3", PROFILE.digest, now_ms // HOUR_MS)
    assert KEPT_S - 60 < client.ttl(key) <= KEPT_S
