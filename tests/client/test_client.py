"""The client against the running stack, and against servers that misbehave."""

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pictures
import pytest
import services
from misbehaving import Answer, problem_of, server
from PIL import Image
from stack import Stack

from segue_client import ChecksumError, Client, Job, ProblemError, UnreachableError

SERVER_SIDE = (
    "flask", "numpy", "tensorflow", "redis", "minio", "celery", "pydantic", "storage", "web", "worker", "model",
)  # fmt: skip


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{stack.port}") as made:
        yield made


def test_the_client_imports_no_server_package() -> None:
    code = "import sys, segue_client; print('\\n'.join(sys.modules))"
    env = services.environment(PYTHONPATH=services.PYTHONPATH)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(SERVER_SIDE)


def test_submit_wait_mask(client: Client, tmp_path: Path) -> None:
    (tmp_path / "größe.jpg").write_bytes(pictures.jpeg(70, 50))
    job = client.submit(tmp_path / "größe.jpg", priority="bulk", deadline_s=600)
    assert job.input["filename"] == "größe.jpg"
    job = client.wait(job, timeout_s=services.PATIENCE_S)
    assert (job.status, job.final, client.job(job.id).status) == ("succeeded", True, "succeeded")
    for format_, kind in (("index", "PNG"), ("overlay", "JPEG"), ("cutout", "PNG"), ("confidence", "PNG")):
        with Image.open(io.BytesIO(client.mask(job, format_))) as mask:
            assert (mask.format, mask.size) == (kind, (70, 50))
    assert json.loads(client.mask(job, "rle"))["size"] == [50, 70]
    assert json.loads(client.mask(job, "geojson"))["type"] == "FeatureCollection"
    with pytest.raises(ValueError, match="tiff"):
        client.mask(job, "tiff")


def test_a_submit_with_a_wait_returns_the_finished_job(client: Client) -> None:
    assert client.submit(pictures.jpeg(), wait_s=30).status == "succeeded"


@pytest.mark.parametrize(("format_", "kind"), [("index", "PNG"), ("overlay", "JPEG"), ("cutout", "PNG")])
def test_one_call_from_photo_to_mask(client: Client, format_: str, kind: str) -> None:
    with Image.open(io.BytesIO(client.segment(pictures.jpeg(70, 50), format_))) as mask:
        assert (mask.format, mask.size) == (kind, (70, 50))
    with pytest.raises(ProblemError, match="damaged"):
        client.segment(pictures.truncated_jpeg(), format_)


def test_a_mask_that_arrives_damaged_in_one_call_raises() -> None:
    damaged: Answer = (200, {"Content-Type": "image/png", "Repr-Digest": "sha-256=:AAAA:"}, b"PNG")
    with server(lambda _: damaged) as (url, _), Client(url) as client, pytest.raises(ChecksumError):
        client.segment(pictures.jpeg())


def test_a_refused_image_raises_the_problem_document(client: Client) -> None:
    with pytest.raises(ProblemError, match="Unsupported media type") as caught:
        client.submit(b"text")
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")
    assert caught.value.document["request_id"]


def test_a_job_without_a_mask_raises_its_error(client: Client) -> None:
    job = client.wait(client.submit(pictures.truncated_jpeg()), timeout_s=services.PATIENCE_S)
    with pytest.raises(ProblemError) as caught:
        client.mask(job)
    assert caught.value.code == "image_decode_failed"


def test_many_jobs_are_watched_until_all_have_ended(client: Client) -> None:
    sent = [client.submit(pictures.jpeg(seed=seed)) for seed in range(5)]
    seen = list(client.watch(sent, timeout_s=services.PATIENCE_S))
    assert sorted(job.id for job in seen if job.final) == sorted(job.id for job in sent)
    assert {job.document["id"] for job in seen} == {job.id for job in sent}


def test_retrying_and_erasing_a_job(client: Client) -> None:
    job = client.wait(client.submit(pictures.truncated_jpeg(), name="torn.jpg"), timeout_s=services.PATIENCE_S)
    assert (job.status, job.input["filename"]) == ("failed", "torn.jpg")
    again = client.retry(job.id)
    assert (again.id, again.document["attempt"]) == (job.id, 2)
    with pytest.raises(ProblemError) as caught:
        client.cancel(client.wait(again, timeout_s=services.PATIENCE_S).id)
    assert caught.value.code == "already_terminal"
    client.erase(job.id)
    with pytest.raises(ProblemError) as caught:
        client.job(job.id)
    assert caught.value.code == "gone"


def test_an_id_cannot_be_a_path(client: Client) -> None:
    with pytest.raises(ProblemError) as caught:
        client.job("../queue")
    assert caught.value.status == 404
    assert set(client.queue()["lanes"]) == {"interactive", "bulk"}


def test_a_batch_from_open_to_its_results(client: Client) -> None:
    batch = client.open_batch("holidays")
    images = [("a/1.jpg", pictures.jpeg(40, 30)), ("b/1.jpg", pictures.truncated_jpeg()), ("x.jpg", b"text")]
    assert [one.outcome for one in batch.append(images)] == ["accepted", "accepted", "refused"]
    assert [one.outcome for one in batch.append(images[:1])] == ["known"]
    batch.close()
    items = {item.custom_id: item for item in batch}
    assert {name: item.status for name, item in items.items()} == {"a/1.jpg": "succeeded", "b/1.jpg": "failed"}
    assert (batch.status, batch.counts.succeeded, batch.counts.total) == ("partially_failed", 1, 2)
    last = max(item.cursor for item in items.values())
    assert not list(batch.results(after=last))
    assert client.mask(items["a/1.jpg"]).startswith(b"\x89PNG")
    batch.retry()
    batch.wait(30)
    assert [item.custom_id for item in client.batch(batch.id).results(after=last)] == ["b/1.jpg"]


def test_a_cancelled_batch_ends(client: Client) -> None:
    batch = client.open_batch("cancelled")
    batch.append([(f"{i}.jpg", pictures.jpeg(seed=i)) for i in range(30)])
    batch.cancel()
    batch.wait(30)
    assert batch.status in ("canceled", "succeeded", "partially_failed")
    with pytest.raises(ProblemError) as caught:
        batch.append([("more.jpg", pictures.jpeg())])
    assert caught.value.code == "batch_closed"


JOB = b'{"id": "job_1", "status": "queued", "links": {"self": "/v1/jobs/job_1"}, "input": {}, "newer": 1}'
BUSY = b'{"code": "idempotency_in_progress", "status": 409, "title": "busy"}'


@pytest.mark.parametrize(
    "refusal",
    [(status, {"Retry-After": "0"}, b"<html>") for status in (408, 429, 502, 503, 504)]
    + [(409, {"Content-Type": "application/problem+json", "Retry-After": "0"}, BUSY)],
)
def test_a_request_is_retried_with_the_same_key_after_an_outage(refusal: Answer) -> None:
    with server(lambda n: refusal if n < 2 else (202, {}, JOB)) as (url, seen), Client(url) as client:
        assert client.submit(b"photo").id == "job_1"
    assert len(seen) == 3
    assert len({headers["Idempotency-Key"] for headers in seen}) == 1


def test_retry_after_is_honoured() -> None:
    with server(lambda n: (202, {}, JOB) if n else (503, {"Retry-After": "1"}, b"")) as (url, _), Client(url) as client:
        started = time.monotonic()
        client.submit(b"photo")
        assert time.monotonic() - started >= 1


def test_giving_up_within_the_budget() -> None:
    with (
        server(lambda _: (503, {"Retry-After": "9"}, b"away")) as (url, seen),
        Client(url, timeout_s=1) as client,
        pytest.raises(ProblemError) as caught,
    ):
        client.job("job_1")
    assert (caught.value.status, caught.value.document["detail"], len(seen)) == (503, "away", 1)


def test_a_server_that_starts_late() -> None:
    port = services.free_ports(1)
    with (
        Client(f"http://127.0.0.1:{port}", timeout_s=0.5) as client,
        pytest.raises(UnreachableError, match="connection refused"),
    ):
        client.job("job_1")
    with Client(f"http://127.0.0.1:{port}") as client:
        found: list[Job] = []
        asking = threading.Thread(target=lambda: found.append(client.job("job_1")))
        asking.start()
        time.sleep(0.3)
        with server(lambda _: (200, {}, JOB), port):
            asking.join(20)
    assert [job.id for job in found] == ["job_1"]


def test_the_key_goes_with_every_request() -> None:
    with server(lambda _: (200, {}, JOB)) as (url, seen), Client(url, key="seg_1") as client:
        client.job("job_1")
        client.submit(b"photo")
    assert [headers["Authorization"] for headers in seen] == ["Bearer seg_1"] * 2


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_refused_caller_gets_an_error_at_once(status: int, code: str) -> None:
    with (
        server(lambda _: problem_of(status, code)) as (url, seen),
        Client(url) as client,
        pytest.raises(ProblemError, match=f"Because of {code}") as caught,
    ):
        client.submit(b"photo")
    assert (caught.value.status, caught.value.code, len(seen)) == (status, code, 1)


def test_the_client_waits_for_a_rate_limit_beyond_the_retry_budget() -> None:
    """The window of the limit may be longer than the time budget for an outage."""
    limited = problem_of(429, "rate_limited", **{"Retry-After": "2"})
    with server(lambda n: (202, {}, JOB) if n else limited) as (url, seen), Client(url, timeout_s=1) as client:
        started = time.monotonic()
        assert client.submit(b"photo").id == "job_1"
        assert time.monotonic() - started >= 2
    assert len(seen) == 2


def test_waiting_for_a_rate_limit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue_client.transport.LONGEST_LIMITED_S", 1)
    limited = problem_of(429, "rate_limited", **{"Retry-After": "1"})
    with (
        server(lambda _: limited) as (url, seen),
        Client(url, timeout_s=0.5) as client,
        pytest.raises(ProblemError),
    ):
        client.submit(b"photo")
    assert len(seen) <= 3


def test_waiting_for_a_server_that_cannot_wait_does_not_hammer_it() -> None:
    """The server answers every long poll at once, so the client waits for Retry-After."""
    with server(lambda _: (304, {"Retry-After": "1"}, b"")) as (url, seen), Client(url) as client:
        job = Job("job_1", "queued", {"self": "/v1/jobs/job_1"}, {}, '"1"')
        with pytest.raises(TimeoutError, match="still queued"):
            client.wait(job, timeout_s=2)
    assert 1 <= len(seen) <= 3
    assert (seen[0]["If-None-Match"], seen[0]["Prefer"]) == ('"1"', "wait=2")


def test_a_watched_job_that_is_erased_is_yielded_once_more() -> None:
    with server(lambda _: problem_of(410, "gone")) as (url, seen), Client(url) as client:
        [job] = client.watch([Job("job_1", "queued", {"self": "/v1/jobs/job_1"}, {}, "")], timeout_s=5)
    assert (job.final, job.error and job.error["code"], len(seen)) == (False, "gone", 1)


def test_watching_is_bounded() -> None:
    with server(lambda _: (304, {"Retry-After": "1"}, b"")) as (url, _), Client(url) as client:
        jobs = [Job(name, "queued", {"self": f"/v1/jobs/{name}"}, {}, '"1"') for name in ("job_1", "job_2")]
        with pytest.raises(TimeoutError, match="2 have not ended in time"):
            list(client.watch(jobs, timeout_s=2))


def test_a_response_of_another_service_raises_a_problem() -> None:
    with (
        server(lambda _: (200, {}, b"<html>")) as (url, _),
        Client(url) as client,
        pytest.raises(ProblemError, match="Not Segue"),
    ):
        client.job("job_1")


def test_a_damaged_mask_is_detected() -> None:
    job = Job("job_1", "succeeded", {"mask": "/mask", "overlay": "/overlay"}, {}, "", {"sha256": "0" * 64})
    with server(lambda _: (200, {}, b"half a mask")) as (url, _), Client(url) as client:
        with pytest.raises(ChecksumError):
            client.mask(job)
        assert client.mask(job, "overlay") == b"half a mask"
