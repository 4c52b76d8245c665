"""/v1/jobs: submit, wait, download the mask."""

import hashlib
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from posting import code, post

from storage import keys, object_keys
from storage.connection import Storage, connect
from storage.job import Status
from storage.keys import SEGMENT_QUEUE
from storage.objects import RESULTS, MinioObjects
from storage.problems import Unavailable
from web.app import create_app

Work = Callable[[], None]


def test_tags_are_stored_and_returned(client: FlaskClient, connection: Storage) -> None:
    job = post(client, tags="holiday, Größe 猫,,2026 ").get_json()
    assert job["tags"] == ["holiday", "Größe 猫", "2026"]
    connection.jobs.client.flushall()
    assert client.get(job["links"]["self"]).get_json()["tags"] == job["tags"]
    assert post(client).get_json()["tags"] == []


@pytest.mark.parametrize("tags", ["x" * 65, ",".join("abcdefghijklmnopqrstu"), "a\x00b", "a\nb"])
def test_invalid_tags_are_refused(client: FlaskClient, tags: str) -> None:
    assert code(post(client, tags=tags)) == "invalid_request"


def test_an_upload_is_accepted_stored_and_queued(client: FlaskClient, connection: Storage) -> None:
    content = pictures.jpeg(120, 80)
    answer = post(client, content, "My cat.jpg")
    job = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert (job["object"], job["status"], job["attempt"], job["priority"]) == ("job", "queued", 1, "interactive")
    assert job["input"] == {
        "filename": "My cat.jpg", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
        "width": 120, "height": 80, "format": "JPEG",
    }  # fmt: skip
    stored = connection.jobs.get(job["id"])
    assert stored is not None
    assert connection.objects.get_upload(stored.spec) == content
    assert connection.jobs.client.llen(SEGMENT_QUEUE) == 1


@pytest.mark.parametrize("padding", [b"\n" + b"\0" * 3_000_000, b"\r\n--" * 300_000, bytes(range(256)) * 8_000])
def test_any_bytes_in_a_photo_survive_the_upload(client: FlaskClient, connection: Storage, padding: bytes) -> None:
    """Long runs without a line break, or of bytes that look like a multipart boundary."""
    content = pictures.jpeg() + padding
    job = connection.jobs.get(post(client, content).get_json()["id"])
    assert job is not None
    assert connection.objects.get_upload(job.spec) == content


def test_a_raw_body_with_options_in_the_query(client: FlaskClient, connection: Storage) -> None:
    answer = client.post(
        "/v1/jobs?priority=bulk&deadline_s=60", data=pictures.jpeg(), headers={"Content-Type": "image/jpeg"}
    )
    job = connection.jobs.get(answer.get_json()["id"])
    assert job is not None
    assert (answer.status_code, job.spec.lane, job.spec.filename) == (202, "bulk", "")
    assert job.spec.deadline_ms - job.spec.created_ms == 60_000


def test_a_finished_job_and_its_mask(client: FlaskClient, work: Work) -> None:
    made = post(client, pictures.jpeg(120, 80)).get_json()
    assert code(client.get(f"/v1/jobs/{made['id']}/mask")) == "job_not_finished"
    work()
    answer = client.get(made["links"]["self"])
    job = answer.get_json()
    assert (answer.status_code, job["status"], job["error"]) == (200, "succeeded", None)
    assert "Retry-After" not in answer.headers
    assert job["model"] == {"name": "pets", "version": "3"}
    assert job["micro_batch"] == {"size": 1}
    assert set(job["timings_ms"]) == {"queued", "fetch", "decode", "infer", "encode", "store", "total"}
    assert_waterfall(job)
    assert job["created_at"].endswith("Z")
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]

    mask = client.get(job["links"]["mask"])
    assert mask.content_type == "image/png"
    assert hashlib.sha256(mask.data).hexdigest() == job["result"]["sha256"]
    with Image.open(io.BytesIO(mask.data)) as image:
        assert image.size == (job["result"]["width"], job["result"]["height"]) == (120, 80)
        ids = np.asarray(image)
    for entry in job["result"]["classes"]:
        assert (ids == entry["id"]).sum() == entry["pixels"]
    assert "immutable" in mask.headers["Cache-Control"]
    assert mask.headers["Repr-Digest"].startswith("sha-256=:")
    again = client.get(job["links"]["mask"], headers={"If-None-Match": mask.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def assert_waterfall(job: dict[str, Any]) -> None:
    stages = job["waterfall"]
    assert [row["stage"] for row in stages] == ["queued", "fetch", "decode", "infer", "encode", "store"]
    assert all(row["duration_ms"] == job["timings_ms"][row["stage"]] for row in stages)
    assert stages[0]["start_ms"] == 0
    ends = [row["start_ms"] + row["duration_ms"] for row in stages]
    rounding = 1
    assert all(row["start_ms"] >= end - rounding for row, end in zip(stages[1:], ends, strict=False))
    assert ends[-1] <= job["timings_ms"]["total"] + rounding


def test_a_waiting_job_has_no_waterfall_yet(client: FlaskClient) -> None:
    assert post(client, pictures.jpeg()).get_json()["waterfall"] == []


def test_the_overlay_lies_upright_over_the_photo(client: FlaskClient, work: Work) -> None:
    upright = pictures.photo(120, 80)
    content = pictures.with_orientation(upright, 6, kind="JPEG", quality=95)
    job = post(client, content).get_json()
    work()
    mask = Image.open(io.BytesIO(client.get(f"/v1/jobs/{job['id']}/mask").data))
    ids, colours = np.asarray(mask), np.asarray(mask.convert("RGB"), float)

    def overlay(alpha: float) -> np.ndarray:
        answer = client.get(f"/v1/jobs/{job['id']}/mask?format=overlay&alpha={alpha}")
        assert answer.content_type == "image/jpeg"
        return np.asarray(Image.open(io.BytesIO(answer.data)).convert("RGB"), float)

    assert np.abs(overlay(0) - np.asarray(upright, float)).mean() < 6
    painted = ids != 1  # all pixels but the background
    assert np.abs(overlay(1) - colours)[painted].mean() < 40 if painted.any() else True
    assert np.abs(overlay(1) - np.asarray(upright, float))[~painted].mean() < 12


@pytest.mark.parametrize(
    ("query", "detail"),
    [("format=gif", "format"), ("format=overlay&alpha=2", "alpha"), ("format=overlay&alpha=x", "alpha")],
)
def test_a_wrong_rendering_is_refused(client: FlaskClient, work: Work, query: str, detail: str) -> None:
    job = post(client).get_json()
    work()
    answer = client.get(f"/v1/jobs/{job['id']}/mask?{query}")
    assert code(answer) == "invalid_request"
    assert detail in answer.get_json()["detail"]


def test_a_damaged_image_fails_with_its_reason(client: FlaskClient, work: Work) -> None:
    job = post(client, pictures.truncated_jpeg()).get_json()
    work()
    failed = client.get(job["links"]["self"]).get_json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "image_decode_failed")
    assert "mask" not in failed["links"]
    assert code(client.get(f"/v1/jobs/{job['id']}/mask")) == "already_terminal"


def test_an_idempotency_key_makes_one_job(client: FlaskClient) -> None:
    content, headers = pictures.jpeg(), {"Idempotency-Key": "abc"}
    first, again = post(client, content, headers=headers), post(client, content, headers=headers)
    assert first.get_json()["id"] == again.get_json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert code(post(client, pictures.jpeg(seed=1), headers=headers)) == "idempotency_key_reused"
    assert code(post(client, content, headers=headers, priority="bulk")) == "idempotency_key_reused"
    assert post(client, content).get_json()["id"] != first.get_json()["id"]


def test_requests_with_one_key_at_once_make_one_job(app: Flask) -> None:
    content, headers = pictures.jpeg(), {"Idempotency-Key": "race"}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(app.test_client(), content, headers=headers), range(16)))
    assert len({answer.get_json()["id"] for answer in answers if answer.status_code == 202}) == 1
    others = {code(answer) for answer in answers if answer.status_code != 202}
    assert others <= {"idempotency_in_progress"}
    assert all(a.headers["Retry-After"] == "1" for a in answers if a.status_code == 409)


def test_a_failed_submission_is_repeated_for_the_same_job(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = []

    def down(self: MinioObjects, spec: Any, content: bytes) -> None:
        reserved.append(spec.id)
        raise Unavailable("object store: down")

    headers = {"Idempotency-Key": "again"}
    content = pictures.jpeg()
    with monkeypatch.context() as broken:
        broken.setattr(MinioObjects, "put_upload", down)
        failed = post(client, content, headers=headers)
    assert (failed.status_code, code(failed)) == (503, "unavailable")
    assert post(client, content, headers=headers).get_json()["id"] == reserved[0]


def test_a_job_hash_that_redis_lost_is_restored_from_the_objects(
    client: FlaskClient, connection: Storage, work: Work
) -> None:
    queued = post(client).get_json()["id"]
    connection.jobs.client.flushall()
    assert client.get(f"/v1/jobs/{queued}").get_json()["status"] == "queued"
    connection.jobs.epoch.mark_intact()
    work()
    before = client.get(f"/v1/jobs/{queued}").get_json()
    connection.jobs.client.flushall()
    after = client.get(f"/v1/jobs/{queued}").get_json()
    assert after["status"] == "succeeded"
    assert after["result"] == before["result"]
    assert after["revision"] > before["revision"]
    assert client.get(f"/v1/jobs/{queued}/mask").status_code == 200


@pytest.mark.parametrize("path", ["", "/mask"])
@pytest.mark.parametrize("job_id", ["nonsense", "job_1", "job_" + "0" * 32, "new"])
def test_unknown_jobs(client: FlaskClient, job_id: str, path: str) -> None:
    chosen = keys.new_job_id() if job_id == "new" else job_id
    assert code(client.get(f"/v1/jobs/{chosen}{path}")) == "not_found"


def test_another_tenants_job_looks_unknown(client: FlaskClient, connection: Storage) -> None:
    from specs import submit

    theirs = submit(connection, tenant="somebody")
    assert code(client.get(f"/v1/jobs/{theirs.id}")) == "not_found"


def test_a_mask_that_is_gone(client: FlaskClient, connection: Storage, work: Work) -> None:
    made = post(client).get_json()["id"]
    work()
    job = connection.jobs.get(made)
    assert job is not None
    assert job.status is Status.SUCCEEDED
    connection.objects.remove(RESULTS, job.result_key)
    assert code(client.get(f"/v1/jobs/{made}/mask")) == "gone"


def test_an_unavailable_service_is_a_503_with_retry_after(settings: Any) -> None:
    for change in ({"redis_url": "redis://127.0.0.1:9/0"}, {"s3_url": "http://127.0.0.1:9"}):
        client = create_app(settings.replace(**change)).test_client()
        started = time.monotonic()
        answer = post(client)
        assert (answer.status_code, code(answer), answer.headers["Retry-After"]) == (503, "unavailable", "2")
        assert time.monotonic() - started < 30
        ready = client.get("/readyz")
        assert (ready.status_code, ready.get_json()["status"]) == (503, "unavailable")
        assert client.get("/healthz").status_code == 200
        connect(settings).jobs.client.close()


def test_a_waiting_job_is_cancelled_at_once(client: FlaskClient, connection: Storage) -> None:
    job = post(client).get_json()
    answer = client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.get_json()["status"]) == (200, "canceled")
    assert answer.get_json()["error"]["code"] == "canceled"
    assert client.post(job["links"]["cancel"]).status_code == 200
    assert connection.jobs.claim("t", "d", "w") == []
    assert len(connection.objects.results("local", job["id"])) == 1


def test_a_running_job_is_cancelled_by_its_holder(client: FlaskClient, connection: Storage) -> None:
    job = post(client).get_json()
    connection.jobs.claim("token", "drainer", "worker")
    answers = [client.post(job["links"]["cancel"]) for _ in range(2)]
    assert [(answer.status_code, answer.get_json()["status"]) for answer in answers] == [(202, "running")] * 2
    assert connection.jobs.extend("token", "drainer", "worker", [job["id"]]) == ["canceled"]


def test_an_ended_job_cannot_be_cancelled(client: FlaskClient, work: Work) -> None:
    job = post(client).get_json()
    work()
    assert code(client.post(job["links"]["cancel"])) == "already_terminal"


def test_a_cancelled_job_may_be_tried_again(client: FlaskClient, connection: Storage, work: Work) -> None:
    job = post(client).get_json()
    assert code(client.post(f"/v1/jobs/{job['id']}/retry")) == "not_retryable"
    canceled = client.post(job["links"]["cancel"]).get_json()
    answer = client.post(canceled["links"]["retry"])
    again = answer.get_json()
    assert (answer.status_code, again["status"], again["attempt"], again["error"]) == (202, "queued", 2, None)
    assert not connection.objects.results("local", job["id"])
    connection.jobs.client.flushall()  # a result of the first attempt must not end the second
    assert client.get(job["links"]["self"]).get_json()["status"] == "queued"
    connection.jobs.epoch.mark_intact()
    work()
    assert client.get(job["links"]["self"]).get_json()["status"] == "succeeded"


def test_a_job_that_is_too_old_or_without_a_photo_is_not_retried(client: FlaskClient, connection: Storage) -> None:
    job = post(client).get_json()
    client.post(job["links"]["cancel"])
    connection.objects.remove("uploads", object_keys.upload("local", job["id"]))
    assert code(client.post(f"/v1/jobs/{job['id']}/retry")) == "gone"
    connection.jobs.client.hset(keys.job(job["id"]), "created_ms", 1)
    assert code(client.post(f"/v1/jobs/{job['id']}/retry")) == "not_retryable"


def test_an_erased_job_is_gone(client: FlaskClient, connection: Storage, work: Work) -> None:
    job = post(client).get_json()
    work()
    assert client.get(job["links"]["self"]).get_json()["retained_until"]
    assert client.delete(job["links"]["self"]).status_code == 204
    for path in ("", "/mask"):
        assert code(client.get(job["links"]["self"] + path)) == "gone"
    assert code(client.delete(job["links"]["self"])) == "gone"
    assert connection.objects.spec("local", job["id"]) is None
    assert not connection.objects.results("local", job["id"])


def test_a_running_job_is_not_erased(client: FlaskClient, connection: Storage) -> None:
    job = post(client).get_json()
    connection.jobs.claim("token", "drainer", "worker")
    assert code(client.delete(job["links"]["self"])) == "job_not_finished"
    assert client.get(job["links"]["self"]).status_code == 200


def test_an_idempotency_key_waits_until_lost_keys_are_restored(client: FlaskClient, connection: Storage) -> None:
    connection.jobs.client.flushall()
    answer = post(client, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, code(answer)) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert post(client).status_code == 202, "a request without a key cannot create a duplicate"
    connection.jobs.epoch.mark_intact()
    assert post(client, headers={"Idempotency-Key": "k"}).status_code == 202
