"""queue_full: depends on the seconds of queued work, and Retry-After is accurate."""

import io
from typing import Any

import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient
from specs import submit
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage
from storage.objects import UPLOADS
from web import admission
from web.app import create_app

WAITING = 50


@pytest.fixture
def full(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An app with 50 queued jobs of one second each and a limit of 24 s of work.

    Two workers are configured, but none is alive.
    """
    monkeypatch.setattr(admission, "FRESH_S", 0.0)
    for _ in range(WAITING):
        submit(connection)
    pace(connection, 1000)
    return create_app(connection.settings.replace(max_backlog_s=24.0, workers=2))


def pace(connection: Storage, ms_per_image: float) -> None:
    """Store a measured pace, as `finish` does."""
    measured = {"ms_per_image": ms_per_image, "micro_batch": 16}
    connection.jobs.client.hset(keys.RATE, mapping=measured)


def post(client: FlaskClient, **headers: str) -> TestResponse:
    return client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", headers=headers)


def refused(answer: TestResponse) -> dict[str, Any]:
    problem = dict(answer.get_json())
    assert (answer.status_code, problem["code"], problem["retryable"]) == (429, "queue_full", True)
    assert int(answer.headers["Retry-After"]) == problem["retry_after_s"]
    return problem


def test_a_queue_that_takes_too_long_is_full(full: Flask, connection: Storage) -> None:
    before = len(list(connection.objects.listing(UPLOADS, "")))
    problem = refused(post(full.test_client()))
    assert problem["retry_after_s"] == 2  # 51 images by two workers are 25.5 s
    assert len(list(connection.objects.listing(UPLOADS, ""))) == before


def test_live_workers_count_instead_of_the_configured_ones(full: Flask, connection: Storage) -> None:
    for name in "abc":
        connection.jobs.workers.beat(name, 60_000)
    assert post(full.test_client()).status_code == 202
    connection.jobs.client.delete(keys.WORKERS)
    connection.jobs.workers.beat("a", 60_000)
    assert refused(post(full.test_client()))["retry_after_s"] >= 27


def test_a_refused_key_may_be_used_again(full: Flask, connection: Storage) -> None:
    client = full.test_client()
    refused(post(client, **{"Idempotency-Key": "once"}))
    pace(connection, 1)
    assert post(client, **{"Idempotency-Key": "once"}).status_code == 202


def test_a_full_queue_still_answers_a_repeated_request(connection: Storage, full: Flask) -> None:
    client = full.test_client()
    pace(connection, 1)
    first = post(client, **{"Idempotency-Key": "twice"})
    pace(connection, 1000)
    again = post(client, **{"Idempotency-Key": "twice"})
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])


def test_an_append_counts_its_images(connection: Storage, full: Flask) -> None:
    client = full.test_client()
    pace(connection, 900)  # 22.5 s
    batch = client.post("/v1/batches", json={}).get_json()
    files = [(io.BytesIO(pictures.jpeg()), f"{number}.jpg") for number in range(4)]
    assert refused(client.post(batch["links"]["jobs"], data={"image": files}))["retry_after_s"] == 1
    files = [(io.BytesIO(pictures.jpeg()), f"{number}.jpg") for number in range(2)]
    assert client.post(batch["links"]["jobs"], data={"image": files}).status_code == 202


def test_without_a_measured_pace_every_job_is_accepted(full: Flask, connection: Storage) -> None:
    connection.jobs.client.delete(keys.RATE)
    assert post(full.test_client()).status_code == 202


def test_jobs_accepted_between_two_queries_of_the_queue_count(
    connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FRESH_S", 60.0)
    pace(connection, 1000)
    client = create_app(connection.settings.replace(max_backlog_s=3.0)).test_client()
    assert [post(client).status_code for _ in range(5)] == [202, 202, 202, 429, 429]
