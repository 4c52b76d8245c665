"""One drainer's run with a real Redis, a real object store and the shipped model."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import redis
import services
from numpy.typing import NDArray
from PIL import Image
from services import SHIPPED_MODEL
from specs import submit

from model.images import confidence
from model.segmenter import Segmenter
from storage import keys, object_keys
from storage.connection import Storage, connect
from storage.job import Job, Spec, Status
from storage.keys import SEGMENT_QUEUE
from storage.models import ALIASES
from storage.objects import MODELS, RESULTS
from storage.photos.confidence import CONFIDENCE, MOST, read
from storage.problems import Unavailable
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline


@pytest.fixture
def published(connection: Storage) -> Storage:
    connection.models.publish(SHIPPED_MODEL)
    return connection


@pytest.fixture
def engines(published: Storage) -> Engines:
    return Engines(published)


@pytest.fixture
def pipeline(published: Storage, engines: Engines) -> Pipeline:
    return Pipeline(published, engines, "worker")


def loaded(engines: Engines) -> Segmenter:
    version = engines.first()
    assert version
    engines.load(version)
    segmenter = engines.get("stable", version)
    assert segmenter
    return segmenter


def job(connection: Storage, job_id: str) -> Job:
    found = connection.jobs.get(job_id)
    assert found is not None
    return found


def offline(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (256, 256))
        full = Image.open(io.BytesIO(content)).size
        segmenter = Segmenter(SHIPPED_MODEL)
        from model.masks import to_mask

        return to_mask(segmenter.engine.logits(segmenter.to_input(image.convert("RGB"))[None])[0], *full)


def test_a_job_becomes_the_mask_the_model_makes_offline(published: Storage, pipeline: Pipeline) -> None:
    content = pictures.jpeg(300, 200)
    made = submit(published, content)
    pipeline.run("drainer")
    done = job(published, made.id)
    assert done.status is Status.SUCCEEDED
    png = published.objects.get(RESULTS, done.result_key)
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image), offline(content))
    assert done.outcome is not None
    assert done.outcome.result is not None
    assert sum(entry["pixels"] for entry in done.outcome.result["classes"]) == 300 * 200
    assert set(done.outcome.timings_ms) == {"fetch", "decode", "infer", "encode", "store"}
    assert published.objects.outcome(done.result_key) is not None


def test_the_offsets_show_the_wait_between_stages(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine starts when the whole micro-batch is decoded, so a slow download makes the other photo wait."""
    quick, slow = submit(published), submit(published)
    get_upload = published.objects.get_upload

    def delayed(spec: Spec) -> bytes | None:
        time.sleep(0.3 if spec.id == slow.id else 0)
        return get_upload(spec)

    monkeypatch.setattr(published.objects, "get_upload", delayed)
    pipeline.run("drainer")
    done = [job(published, one.id).outcome for one in (quick, slow)]
    assert done[0]
    assert done[1]
    starts, took = done[0].offsets_ms, done[0].timings_ms
    assert list(starts) == ["fetch", "decode", "infer", "encode", "store"]
    assert starts["infer"] >= 300
    assert took["fetch"] + took["decode"] < starts["infer"]
    assert done[1].timings_ms["fetch"] >= 300
    assert starts["infer"] == done[1].offsets_ms["infer"]


def test_a_mask_carries_the_models_confidence(published: Storage, pipeline: Pipeline) -> None:
    made = submit(published, pictures.encoded(pictures.photo(130, 90), "PNG"))
    pipeline.run("drainer")
    done = job(published, made.id)
    stored = published.objects.get(RESULTS, done.result_key)
    assert stored is not None
    found = read(stored, CONFIDENCE)
    assert found is not None
    segmenter = Segmenter(SHIPPED_MODEL)
    expected = confidence(segmenter.engine.logits(segmenter.to_input(pictures.photo(130, 90))[None])[0])
    assert found.size == expected.shape[::-1]
    assert np.abs(np.asarray(found) / 255 - expected).max() < 0.51 / MOST + 0.51 / 255
    assert done.outcome is not None
    assert done.outcome.result is not None
    assert done.outcome.result["confidence"] == pytest.approx(float(expected.mean()), abs=1e-4)
    stored_outcome = published.objects.outcome(done.result_key)
    assert stored_outcome is not None
    assert stored_outcome.result == done.outcome.result
    assert len(stored) < 16_000


def test_a_truncated_image_fails_alone_in_its_micro_batch(published: Storage, pipeline: Pipeline) -> None:
    contents = [pictures.jpeg(), pictures.truncated_jpeg(), pictures.jpeg(seed=1)]
    made = [submit(published, content) for content in contents]
    pipeline.run("drainer")
    done = [job(published, one.id) for one in made]
    assert [one.status for one in done] == [Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED]
    assert [one.micro_batch for one in done] == [3, 3, 3]
    error = done[1].outcome.error if done[1].outcome else None
    assert error is not None
    assert (error["code"], error["instance"]) == ("image_decode_failed", f"/v1/jobs/{made[1].id}")


def test_many_jobs_run_in_full_micro_batches(published: Storage, pipeline: Pipeline) -> None:
    made = [submit(published, pictures.jpeg(seed=i)) for i in range(40)]
    pipeline.run("drainer")
    done = [job(published, one.id) for one in made]
    assert {one.status for one in done} == {Status.SUCCEEDED}
    assert [one.micro_batch for one in done] == [16] * 32 + [8] * 8
    assert published.jobs.tickets_missing() == 0


def test_odd_sizes_and_orientations_keep_their_upright_size(published: Storage, pipeline: Pipeline) -> None:
    made = {
        (1, 1): submit(published, pictures.encoded(pictures.photo(1, 1), "PNG")),
        (10000, 1): submit(published, pictures.encoded(pictures.photo(10000, 1), "PNG")),
        (90, 60): submit(published, pictures.with_orientation(pictures.photo(90, 60), 6, kind="JPEG")),
    }
    pipeline.run("drainer")
    for size, one in made.items():
        content = published.objects.get(RESULTS, job(published, one.id).result_key)
        assert content is not None
        assert Image.open(io.BytesIO(content)).size == size


def test_an_upload_that_is_gone_fails_its_job(published: Storage, pipeline: Pipeline) -> None:
    made = submit(published)
    published.objects.remove("uploads", object_keys.upload(made.tenant, made.id))
    pipeline.run("drainer")
    done = job(published, made.id)
    assert done.status is Status.FAILED
    assert done.outcome is not None
    assert done.outcome.error is not None
    assert done.outcome.error["code"] == "storage_error"


class Breaking:
    """An engine that raises for images for which `bad` is true, and otherwise delegates."""

    def __init__(self, engine: Any, bad: Callable[[NDArray[np.uint8]], bool]) -> None:
        self.engine, self.bad, self.passes = engine, bad, 0

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.passes += 1
        if any(self.bad(image) for image in images):
            raise RuntimeError("the forward pass broke")
        result: NDArray[np.float32] = self.engine.logits(images)
        return result


def test_a_forward_pass_that_raises_is_bisected(published: Storage, engines: Engines, pipeline: Pipeline) -> None:
    segmenter = loaded(engines)
    black = pictures.encoded(Image.new("RGB", (64, 64)), "PNG")
    broken = Breaking(segmenter.engine, lambda image: not image.any())
    segmenter.engine = broken
    made = [submit(published, black if i == 5 else pictures.jpeg(seed=i)) for i in range(16)]
    pipeline.run("drainer")
    statuses = [job(published, one.id).status for one in made]
    assert statuses == [Status.FAILED if i == 5 else Status.SUCCEEDED for i in range(16)]
    assert broken.passes == 9  # 16, then both halves of 16, 8, 4 and 2


def test_a_broken_encoding_fails_its_job_alone(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    import worker.pipeline.storing as module

    real = module.to_mask_png
    monkeypatch.setattr(module, "to_mask_png", lambda mask, *rest: real(mask, *rest) if mask.shape[0] != 7 else 1 / 0)
    made = [submit(published, pictures.jpeg(9, height)) for height in (6, 7, 8)]
    pipeline.run("drainer")
    statuses = [job(published, one.id).status for one in made]
    assert statuses == [Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED]


def test_without_a_model_the_claim_is_released(connection: Storage, tmp_path: Path) -> None:
    connection = replace(connection, settings=connection.settings.replace(model_cache=tmp_path))
    connection.objects.remove(MODELS, ALIASES)
    made = submit(connection)
    Pipeline(connection, Engines(connection), "worker").run("drainer")
    waiting = job(connection, made.id)
    assert waiting.status is Status.QUEUED
    assert connection.jobs.client.hget(keys.job(made.id), "losses") == "0"
    connection.models.publish(SHIPPED_MODEL)
    Pipeline(connection, Engines(connection), "worker").run("drainer")
    assert job(connection, made.id).status is Status.SUCCEEDED


@pytest.mark.parametrize("method", ["get_upload", "put_result"])
def test_an_outage_of_the_store_releases_the_work(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("object store: down")

    made = [submit(published, pictures.jpeg(seed=i)) for i in range(20)]
    with monkeypatch.context() as broken:
        broken.setattr(published.objects, method, down)
        pipeline.run("drainer")
    assert {job(published, one.id).status for one in made} == {Status.QUEUED}
    services.wait_until(lambda: pipeline.run("drainer") or job(published, made[-1].id).status.final, "its return")
    assert {job(published, one.id).status for one in made} == {Status.SUCCEEDED}


def test_a_job_cancelled_while_it_runs_ends_cancelled(published: Storage, engines: Engines, pipeline: Pipeline) -> None:
    made = [submit(published, pictures.jpeg(seed=i)) for i in range(3)]

    def cancel_second(_: NDArray[np.uint8]) -> bool:
        published.jobs.cancel(made[1].id, "web")
        return False

    segmenter = loaded(engines)
    segmenter.engine = Breaking(segmenter.engine, cancel_second)
    pipeline.run("drainer")
    statuses = [job(published, one.id).status for one in made]
    assert statuses == [Status.SUCCEEDED, Status.CANCELED, Status.SUCCEEDED]


def test_a_zombie_neither_wins_nor_leaves_its_mask(published: Storage, engines: Engines, pipeline: Pipeline) -> None:
    """The lease expires during the forward pass, and another worker finishes the job first."""
    made = submit(published)
    segmenter = loaded(engines)
    real, other = segmenter.engine, Pipeline(published, Engines(published), "2")

    def lose_the_lease(_: NDArray[np.uint8]) -> bool:
        published.jobs.client.zadd(keys.leases(made.lane), {made.id: 1})
        published.jobs.sweep("sweeper")
        other.run("another drainer")
        return False

    segmenter.engine = Breaking(real, lose_the_lease)
    pipeline.run("drainer")
    done = job(published, made.id)
    assert done.status is Status.SUCCEEDED
    assert [listed.key for listed in published.objects.results(made.tenant, made.id)] == [done.result_key]


def test_a_drainer_at_its_time_limit_sends_the_next_ticket(published: Storage) -> None:
    hurried = connect(published.settings.replace(ticket_s=0.001))
    made = [submit(published, pictures.jpeg(seed=i)) for i in range(20)]
    Pipeline(hurried, Engines(hurried), "worker").run("drainer")
    statuses = [job(published, one.id).status for one in made]
    assert statuses == [Status.SUCCEEDED] * 16 + [Status.QUEUED] * 4
    assert published.jobs.client.llen(SEGMENT_QUEUE) == 1


def test_a_loss_of_redis_during_a_run_loses_no_result(
    published: Storage, engines: Engines, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.recovery import recover

    made = submit(published)
    real = published.objects.put_result

    def then_flush(*arguments: Any) -> str:
        key = real(*arguments)
        published.jobs.client.flushall()
        return key

    monkeypatch.setattr(published.objects, "put_result", then_flush)
    pipeline.run("drainer")
    assert published.jobs.get(made.id) is None
    back = recover(published.objects, published.jobs, made.tenant, made.id)
    assert back is not None
    assert back.status is Status.SUCCEEDED


def test_an_outage_of_redis_does_not_crash_the_pipeline(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise redis.ConnectionError("down")

    made = submit(published)
    with monkeypatch.context() as broken:
        broken.setattr(published.jobs, "finish", down)
        pipeline.run("drainer")
    assert job(published, made.id).status is Status.QUEUED
    pipeline.run("drainer")
    assert job(published, made.id).status is Status.SUCCEEDED


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Decoding a photo 13 pixels high hangs until the event is set."""
    import worker.pipeline.preparing as module

    release, real = threading.Event(), module.decode

    def decode(content: bytes, *rest: Any, **more: Any) -> Any:
        header, photo = real(content, *rest, **more)
        if header.height == 13:
            release.wait(60)
        return header, photo

    monkeypatch.setattr(module, "decode", decode)
    yield release
    release.set()


def test_a_hung_decode_loses_only_its_own_lease(published: Storage, hanging: threading.Event) -> None:
    hurried = connect(published.settings.replace(lease_s=1))
    made = [submit(hurried, pictures.jpeg(20, 13 if i == 2 else 20, i)) for i in range(12)]
    pipeline = Pipeline(hurried, Engines(hurried), "worker")
    started = time.monotonic()
    pipeline.run("drainer")
    assert time.monotonic() - started < 30  # the decoder hangs for 60
    others = [one.id for i, one in enumerate(made) if i != 2]
    services.wait_until(lambda: made[2].id in hurried.jobs.sweep("sweeper").put_back, "the end of its lease")
    assert {job(hurried, one).status for one in others} == {Status.SUCCEEDED}
    assert {hurried.jobs.client.hget(keys.job(one), "losses") for one in others} == {"0"}
    assert hurried.jobs.client.hget(keys.job(made[2].id), "losses") == "1"
    assert pipeline._workplace.preparing.hung == 1
    hanging.set()
    services.wait_until(lambda: pipeline._workplace.preparing.hung == 0, "the end of the slow decoder")
    pipeline.run("drainer")
    assert job(hurried, made[2].id).status is Status.SUCCEEDED


def test_nothing_is_claimed_while_the_store_does_not_answer(
    published: Storage, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("object store: down")

    made = submit(published)
    claims = 0
    real = published.jobs.claim

    def counted(*arguments: Any) -> list[Job]:
        nonlocal claims
        claims += 1
        return real(*arguments)

    monkeypatch.setattr(published.jobs, "claim", counted)
    with monkeypatch.context() as broken:
        broken.setattr(published.objects, "get_upload", down)
        broken.setattr(published.objects, "ready", lambda: False)
        for _ in range(20):
            pipeline.run("drainer")
    assert claims == 1
    services.wait_until(
        lambda: pipeline.run("drainer") or job(published, made.id).status.final, "the store's return", 15
    )
    assert job(published, made.id).status is Status.SUCCEEDED


def test_a_suspect_runs_while_its_process_holds_nothing_else(
    published: Storage, engines: Engines, pipeline: Pipeline
) -> None:
    """Otherwise each crash would also lose the jobs of the next or previous micro-batch."""
    made = [submit(published, pictures.jpeg(seed=i), created_ms=i + 1) for i in range(50)]
    published.jobs.client.hset(keys.job(made[20].id), "losses", 2)
    held: list[int] = []

    def count(_: NDArray[np.uint8]) -> bool:
        held.append(published.jobs.client.zcard(keys.leases(made[0].lane)))
        return False

    segmenter = loaded(engines)
    segmenter.engine = Breaking(segmenter.engine, count)
    pipeline.run("drainer")
    assert {job(published, one.id).status for one in made} == {Status.SUCCEEDED}
    assert held.count(1) == 1
    assert [job(published, one.id).isolated for one in made] == [0] * 20 + [1] + [0] * 29
    assert {job(published, one.id).attempt for one in made} == {1}


def test_a_hanging_store_is_an_outage_and_not_a_hung_photo(published: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    hurried = connect(published.settings.replace(lease_s=1))
    made = [submit(hurried, pictures.jpeg(seed=i)) for i in range(12)]
    pipeline = Pipeline(hurried, Engines(hurried), "worker")
    awake, real = threading.Event(), hurried.objects.get_upload

    def asleep(spec: Spec) -> bytes | None:
        awake.wait(30)
        return real(spec)

    with monkeypatch.context() as hanging:
        hanging.setattr(hurried.objects, "get_upload", asleep)
        pipeline.run("drainer")
    awake.set()
    assert {job(hurried, one.id).status for one in made} == {Status.QUEUED}
    assert {hurried.jobs.client.hget(keys.job(one.id), "losses") for one in made} == {"0"}


def test_a_job_waiting_for_memory_behind_a_hung_decode_is_released(
    published: Storage,
    hanging: threading.Event,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job does not count a lost lease, because no decoder has started on it."""
    monkeypatch.setattr("worker.pipeline.preparing.MOST_HUNG_SHARE", 10)  # otherwise the process would exit
    hurried = connect(published.settings.replace(lease_s=1, picture_bytes=4000))
    made = [submit(hurried, pictures.jpeg(20, 13 if i == 0 else 20, i), created_ms=i + 1) for i in range(3)]
    pipeline = Pipeline(hurried, Engines(hurried), "worker")
    pipeline.run("drainer")
    assert caplog.messages.count("decoder_hangs") == 1
    assert job(hurried, made[0].id).status is Status.RUNNING
    assert {hurried.jobs.client.hget(keys.job(one.id), "losses") for one in made[1:]} == {"0"}
    hanging.set()
    services.wait_until(lambda: made[0].id in hurried.jobs.sweep("sweeper").put_back, "the end of its lease")
    pipeline.run("drainer")
    assert {job(hurried, one.id).status for one in made} == {Status.SUCCEEDED}
