"""A job shows its re-run as `newer`, and both are erased together."""

from collections.abc import Callable
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient

from storage import clock, keys
from storage.backfill.reruns import Made, Reruns
from storage.connection import Storage
from storage.records import schema
from storage.records.stored_results import StoredResult
from worker.housekeeping import recorder

NEW, DAY_MS = "pets/9", 24 * 3600 * 1000
Document = dict[str, Any]


@pytest.fixture
def old(client: FlaskClient, work: Callable[[], None]) -> Document:
    """A job that has succeeded."""
    job = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()
    work()
    return dict(client.get(job["links"]["self"]).get_json())


def run_again(storage: Storage, job: Document, version: str) -> str:
    """Make the re-run and return its id."""
    photo = StoredResult(job["id"], "local", 0.7, clock.now_ms() + DAY_MS)
    assert Reruns(storage, version).make([photo]) == Made(queued=1)
    return keys.rerun(job["id"], version)


def test_a_succeeded_rerun_is_shown(
    client: FlaskClient, connection: Storage, old: Document, work: Callable[[], None]
) -> None:
    newer = run_again(connection, old, "pets/3")
    waiting = client.get(old["links"]["self"])
    assert waiting.get_json() == old
    work()
    answer = client.get(old["links"]["self"], headers={"If-None-Match": waiting.headers["ETag"]})
    assert answer.status_code == 200
    assert answer.get_json()["newer"] == {"id": newer, "links": {"self": f"/v1/jobs/{newer}"}}
    assert client.get(f"/v1/jobs/{newer}").get_json()["custom_id"] == old["id"]
    connection.jobs.client.delete(keys.job(newer))  # it is rebuilt from its objects
    assert client.get(old["links"]["self"]).get_json()["newer"]["id"] == newer
    assert client.delete(f"/v1/jobs/{newer}").status_code == 204
    assert client.get(old["links"]["self"]).get_json() == old


def test_lists_do_not_show_it(
    client: FlaskClient, connection: Storage, old: Document, work: Callable[[], None]
) -> None:
    newer = run_again(connection, old, "pets/3")
    work()
    schema.migrate(connection.database)
    recorder.record(connection)
    listed = {job["id"]: job["newer"] for job in client.get(f"/v1/jobs?ids={old['id']},{newer}").get_json()["data"]}
    assert listed == {old["id"]: None, newer: None}


def test_erasing_a_job_whose_rerun_is_processed(client: FlaskClient, connection: Storage, old: Document) -> None:
    newer = run_again(connection, old, NEW)
    connection.jobs.claim(token := keys.new_token(), "drainer", "worker-1")
    refused = client.delete(old["links"]["self"])
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_not_finished")
    assert "repeat the request" in refused.get_json()["detail"]
    connection.jobs.release(token, [newer])  # as the worker does with a canceled job
    assert client.delete(old["links"]["self"]).status_code == 204
    assert [client.get(path).status_code for path in (old["links"]["self"], f"/v1/jobs/{newer}")] == [410, 410]
