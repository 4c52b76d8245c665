"""GET /v1/jobs: pages of records, in each kind of database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from specs import submit
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage
from web.app import create_app
from worker.housekeeping import recorder

Get = Callable[..., TestResponse]


@pytest.fixture
def client(recording: Storage) -> Iterator[FlaskClient]:
    app = create_app(recording.settings)
    yield app.test_client()
    app.extensions["storage"].database.dispose()


@pytest.fixture
def get(client: FlaskClient) -> Get:
    return lambda **query: client.get("/v1/jobs", query_string=query)


def ids(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.get_json()["data"]]


def test_pages_follow_each_other_by_their_links(recording: Storage, get: Get) -> None:
    made = [submit(recording).id for _ in range(7)]
    recorder.record(recording)
    first = get(limit=3, status="queued")
    assert ids(first) == made[:-4:-1]
    link = first.headers["Link"]
    assert link.endswith('>; rel="next"')
    assert "status=queued" in link
    second = get(limit=3, cursor=first.get_json()["next_cursor"])
    last = get(limit=3, cursor=second.get_json()["next_cursor"])
    assert ids(first) + ids(second) + ids(last) == made[::-1]
    assert last.get_json()["next_cursor"] is None
    assert "Link" not in last.headers


def test_a_listed_job_equals_its_own_document(recording: Storage, client: FlaskClient, get: Get) -> None:
    job_id = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    recorder.record(recording)
    [listed] = get().get_json()["data"]
    assert listed == client.get(f"/v1/jobs/{job_id}").get_json()


def test_filters(recording: Storage, get: Get) -> None:
    batch_id = keys.new_batch_id()
    old, item = submit(recording, created_ms=1_000_000), submit(recording, batch_id=batch_id, custom_id="a.jpg")
    other = submit(recording, tenant="other", batch_id=batch_id)
    recorder.record(recording)
    assert ids(get()) == [item.id, old.id]
    assert ids(get(batch_id=batch_id)) == [item.id]
    assert ids(get(status="succeeded")) == []
    since = datetime.fromtimestamp(2_000, UTC).isoformat()
    assert ids(get(created_after=since)) == [item.id]
    assert other.id not in str(get().get_json())


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"status": "done"}, {"cursor": "x"}, {"cursor": ""},
        {"created_after": "yesterday"}, {"created_after": "2026-01-01T00:00:00"}, {"color": "red"},
        {"limit": ["1", "2"]},
    ],
)  # fmt: skip
def test_an_invalid_query_is_refused(get: Get, query: dict[str, Any]) -> None:
    answer = get(**query)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")


def test_without_the_database_lists_are_unavailable_and_uploads_are_not(connection: Storage) -> None:
    nowhere = SecretStr("postgresql+psycopg://segue@127.0.0.1:9/nothing")
    client = create_app(connection.settings.replace(sql_url=nowhere)).test_client()
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    assert client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").status_code == 202
