"""Quotas: how much a tenant may store, and the refusal of more."""

import io
from typing import Any

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from werkzeug.test import TestResponse

from storage.connection import Storage
from web.app import create_app

PHOTO = pictures.jpeg()


@pytest.fixture(autouse=True)
def _model(connection: Storage) -> None:
    connection.models.publish(SHIPPED_MODEL)


def post(client: FlaskClient, headers: dict[str, str], content: bytes = PHOTO) -> TestResponse:
    return client.post("/v1/jobs", data=content, content_type="image/jpeg", headers=headers)


def append(client: FlaskClient, headers: dict[str, str], count: int) -> TestResponse:
    batch = client.post("/v1/batches", json={}, headers=headers).get_json()["id"]
    images: dict[str, Any] = {"image": [(io.BytesIO(PHOTO), f"{i}.jpg") for i in range(count)]}
    return client.post(f"/v1/batches/{batch}/jobs", data=images, headers=headers)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json().get("code", "")


def test_jobs_beyond_the_quota_are_refused(connection: Storage) -> None:
    client = guarded(connection, quota_jobs=3).test_client()
    mine, theirs = (bearer(new_key(connection, tenant)) for tenant in ("acme", "other"))
    made = [post(client, mine).get_json()["id"] for _ in range(2)]
    assert code(append(client, mine, 2)) == (403, "quota_exceeded")
    assert append(client, mine, 1).status_code == 202
    assert code(post(client, mine)) == (403, "quota_exceeded")
    assert post(client, theirs).status_code == 202
    assert client.delete(f"/v1/jobs/{made[0]}", headers=mine).status_code == 204
    assert post(client, mine).status_code == 202


def test_bytes_after_the_image_count(connection: Storage) -> None:
    client = guarded(connection, quota_bytes=len(PHOTO) + 100_000).test_client()
    key = bearer(new_key(connection))
    assert post(client, key, PHOTO + bytes(100_000)).status_code == 202
    assert client.get("/v1/usage", headers=key).get_json()["bytes"] == len(PHOTO) + 100_000
    assert code(post(client, key)) == (403, "quota_exceeded")
    assert code(append(client, key, 1)) == (403, "quota_exceeded")


def test_a_refused_upload_may_be_repeated_under_its_key(connection: Storage) -> None:
    client = guarded(connection, quota_jobs=1).test_client()
    key = bearer(new_key(connection))
    first = post(client, key).get_json()["id"]
    repeated = {**key, "Idempotency-Key": "same"}
    assert code(post(client, repeated)) == (403, "quota_exceeded")
    assert client.delete(f"/v1/jobs/{first}", headers=key).status_code == 204
    assert post(client, repeated).status_code == 202


def test_an_open_server_has_no_quota(connection: Storage) -> None:
    client = create_app(connection.settings.replace(quota_jobs=1)).test_client()
    assert [post(client, {}).status_code for _ in range(2)] == [202, 202]
    usage = client.get("/v1/usage").get_json()
    assert (usage["jobs"], usage["quota_jobs"]) == (2, None)
