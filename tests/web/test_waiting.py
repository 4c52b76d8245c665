"""Requests that wait: `Prefer: wait` at the submission, with or without the mask as the answer, and long polls."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pictures
import pytest
import services
from flask import Flask
from flask.testing import FlaskClient
from posting import code, post
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage
from storage.objects import RESULTS, MinioObjects
from storage.problems import Problem, Unavailable
from web import waiting
from web.app import create_app

Work = Callable[[], None]


def waiting_post(
    client: FlaskClient, app: Flask, work: Work, content: bytes = pictures.jpeg(), **headers: str
) -> TestResponse:
    """POST with `Prefer: wait`, and let a worker process the job as soon as it waits."""
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(post, client, content, headers={"Prefer": "respond-async, wait=60", **headers})
        started = time.monotonic()
        while not app.extensions["storage"].jobs.queue().pending["interactive"]:
            assert time.monotonic() - started < 25
        work()
        return answer.result()


def test_waiting_for_the_end(client: FlaskClient, app: Flask, work: Work) -> None:
    started = time.monotonic()
    answer = waiting_post(client, app, work)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert time.monotonic() - started < 50


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.5, image/jpeg", "image/jpeg"),
        ("application/geo+json", "application/geo+json"),
        ("*/*", "application/json"),
        ("application/json, image/png", "application/json"),
    ],
)
def test_a_request_that_waits_gets_the_mask_if_it_prefers_one(
    client: FlaskClient, app: Flask, work: Work, accept: str, media_type: str
) -> None:
    answer = waiting_post(client, app, work, Accept=accept)
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert "Accept" in answer.vary
    job = client.get(answer.headers["Location"]).get_json()
    assert job["status"] == "succeeded"
    if media_type != "application/json":
        assert answer.data == client.get(job["links"]["mask"], headers={"Accept": accept}).data


def test_masks_of_waiting_clients_are_not_read_from_the_store(
    client: FlaskClient, app: Flask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the response to the POST, and in response to the GET that follows it."""
    get = MinioObjects.get

    def refuse_results(store: MinioObjects, bucket: str, key: str) -> bytes | None:
        if bucket == RESULTS:
            raise Unavailable("the store does not answer")
        return get(store, bucket, key)

    with monkeypatch.context() as broken:
        broken.setattr(MinioObjects, "get", refuse_results)
        answer = waiting_post(client, app, work, Accept="image/png")
        assert (answer.status_code, answer.mimetype) == (200, "image/png")
        job = waiting_post(client, app, work).get_json()
        mask = client.get(job["links"]["mask"])
        assert (mask.status_code, mask.mimetype) == (200, "image/png")
        assert client.get(job["links"]["mask"]).status_code == 503
    assert client.get(job["links"]["mask"]).data == mask.data
    assert client.get(f"{answer.headers['Location']}/mask").data == answer.data


def test_a_request_that_waits_for_a_mask_gets_the_problem_of_a_failed_job(
    client: FlaskClient, app: Flask, work: Work
) -> None:
    answer = waiting_post(client, app, work, pictures.truncated_jpeg(), Accept="image/png")
    assert (answer.status_code, code(answer)) == (422, "image_decode_failed")
    error = client.get(answer.headers["Location"]).get_json()["error"]
    assert answer.get_json() == {**error, "request_id": answer.headers["X-Request-ID"]}


def test_a_rendering_that_is_refused_leaves_the_job_known(
    client: FlaskClient, app: Flask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Problem("rate_limited", "The limit is 1 per hour.", 9)

    monkeypatch.setattr(app.extensions["rate_limits"], "take_rendering", refuse)
    answer = waiting_post(client, app, work, Accept="image/jpeg")
    assert (answer.status_code, code(answer), answer.headers["Retry-After"]) == (429, "rate_limited", "9")
    assert client.get(answer.headers["Location"]).get_json()["status"] == "succeeded"


def test_a_repeated_request_gets_the_mask_too(client: FlaskClient, work: Work) -> None:
    content, headers = pictures.jpeg(), {"Idempotency-Key": "again", "Prefer": "wait=9", "Accept": "image/png"}
    post(client, content, headers={"Idempotency-Key": "again"})
    work()
    first = post(client, content, headers=headers)
    again = post(client, content, headers={**headers, "If-None-Match": first.headers["ETag"]})
    for answer in (first, again):
        assert (answer.status_code, answer.mimetype, answer.headers["Idempotency-Replayed"]) == (
            200,
            "image/png",
            "true",
        )
    assert first.data == again.data


def test_a_request_whose_mask_is_late_gets_the_job(client: FlaskClient) -> None:
    for headers in ({"Prefer": "wait=1"}, {}):
        answer = post(client, headers={"Accept": "image/png", **headers})
        assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")


def test_the_start_of_a_job_does_not_wake_those_who_wait_for_its_end(app: Flask) -> None:
    room, reads, client = app.extensions["waiting"], Queue[None](), app.extensions["storage"].jobs.client
    statuses = iter(["queued", "succeeded"])

    def read() -> str:
        reads.put(None)
        return next(statuses)

    def publish(status: str) -> None:
        client.publish(keys.EVENTS, f"id {status} ")

    with ThreadPoolExecutor() as pool:
        ended = pool.submit(room.until, waiting.end_of("id"), read, lambda status: status == "succeeded", 60)
        changes = iter(["queued", "running"])
        changed = pool.submit(room.until, "id", lambda: next(changes), lambda status: status == "running", 60)
        reads.get(timeout=20)
        services.wait_until(lambda: room._count == 2, "both requests")
        publish("running")
        assert changed.result(20) == "running"
        assert reads.empty()
        publish("succeeded")
        assert ended.result(20) == "succeeded"


def test_a_wait_that_times_out_returns_the_current_state(client: FlaskClient) -> None:
    answer = post(client, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    seen = client.get(answer.headers["Location"], headers={"Prefer": "wait=1"})
    assert (seen.status_code, seen.get_json()["status"]) == (200, "queued")
    same = client.get(answer.headers["Location"], headers={"Prefer": "wait=1", "If-None-Match": answer.headers["ETag"]})
    assert (same.status_code, same.data) == (304, b"")


def test_the_long_poll_answers_at_the_next_change(
    client: FlaskClient, connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "REREAD_S", 60)  # only the event can end the wait
    posted = post(client)
    timer = threading.Timer(0.5, lambda: connection.jobs.claim("t", "d", "w"))
    timer.start()
    started = time.monotonic()
    answer = client.get(
        posted.headers["Location"], headers={"Prefer": "wait=30", "If-None-Match": posted.headers["ETag"]}
    )
    timer.join()
    assert answer.get_json()["status"] == "running"
    assert time.monotonic() - started < 25


def test_beyond_the_limit_of_waiters_a_wait_returns_at_once(connection: Storage) -> None:
    client = create_app(connection.settings.replace(max_waiters=0)).test_client()
    started = time.monotonic()
    assert post(client, headers={"Prefer": "wait=60"}).status_code == 202
    assert time.monotonic() - started < 30
