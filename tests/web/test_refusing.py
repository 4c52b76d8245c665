"""While an operator refuses new work: which requests answer 503 `not_accepting`, and which continue."""

import io
from collections.abc import Callable

import pictures
import pytest
from described import held_to_description
from flask.testing import FlaskClient
from specs import submit
from werkzeug.test import TestResponse

from storage.connection import Storage
from storage.objects import UPLOADS
from web import admission
from web.app import create_app

REASON = "We move to new disks until 14:00."
KEY = {"Idempotency-Key": "same"}


@pytest.fixture
def client(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(admission, "FRESH_S", 0.0)
    return held_to_description(create_app(own_store.settings)).test_client()


def photo(client: FlaskClient, **headers: str) -> TestResponse:
    return client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", headers=headers)


def batch(client: FlaskClient, **headers: str) -> TestResponse:
    return client.post("/v1/batches", json={}, headers=headers)


def append(client: FlaskClient, path: str, *names: str) -> TestResponse:
    images = [(io.BytesIO(pictures.jpeg()), name) for name in names]
    return client.post(path, data={"image": images})


def refused(answer: TestResponse) -> bool:
    if answer.status_code != 503:
        return False
    problem = answer.get_json()
    assert (problem["code"], problem["retryable"]) == ("not_accepting", True)
    assert REASON in problem["detail"]
    assert answer.headers["Retry-After"] == "60"
    return True


def appending(client: FlaskClient) -> Callable[[], TestResponse]:
    path = batch(client).get_json()["links"]["jobs"]
    return lambda: append(client, path, "cat.jpg")


def retrying(client: FlaskClient) -> Callable[[], TestResponse]:
    path = photo(client).headers["Location"]
    client.post(f"{path}/cancel")
    return lambda: client.post(f"{path}/retry")


def retrying_a_batch(client: FlaskClient) -> Callable[[], TestResponse]:
    links = batch(client).get_json()["links"]
    [item] = append(client, links["jobs"], "cat.jpg").get_json()["items"]
    client.post(f"/v1/jobs/{item['job_id']}/cancel")
    return lambda: client.post(links["retry"])


# Each prepares what it needs while work is accepted, and returns the request that asks for new work.
SUBMISSIONS: dict[str, Callable[[FlaskClient], Callable[[], TestResponse]]] = {
    "photo": lambda client: lambda: photo(client),
    "photo with a key": lambda client: lambda: photo(client, **KEY),
    "batch": lambda client: lambda: batch(client),
    "append": appending,
    "retry": retrying,
    "retry of a batch": retrying_a_batch,
}


@pytest.mark.parametrize("kind", SUBMISSIONS)
def test_new_work_is_refused_until_the_operator_resumes(client: FlaskClient, own_store: Storage, kind: str) -> None:
    send = SUBMISSIONS[kind](client)
    stored = len(list(own_store.objects.listing(UPLOADS, "")))
    own_store.pausing.refuse(REASON)
    assert refused(send())
    assert len(list(own_store.objects.listing(UPLOADS, ""))) == stored
    own_store.pausing.resume()
    assert send().status_code in (201, 202)


def test_a_repeated_request_answers_as_before(client: FlaskClient, own_store: Storage) -> None:
    job, opened = photo(client, **KEY), batch(client, **KEY)
    path = opened.get_json()["links"]["jobs"]
    append(client, path, "cat.jpg", "dog.jpg")
    own_store.pausing.refuse(REASON)
    for first, again in ((job, photo(client, **KEY)), (opened, batch(client, **KEY))):
        assert again.get_json()["id"] == first.get_json()["id"]
        assert again.headers["Idempotency-Replayed"] == "true"
    assert [item["outcome"] for item in append(client, path, "dog.jpg").get_json()["items"]] == ["known"]
    assert refused(append(client, path, "dog.jpg", "owl.jpg"))
    assert refused(photo(client, **{"Idempotency-Key": "another"}))


def test_reads_and_changes_of_accepted_work_continue(client: FlaskClient, own_store: Storage) -> None:
    job, links = photo(client).headers["Location"], batch(client).get_json()["links"]
    own_store.pausing.refuse(REASON)
    assert client.get(job).status_code == 200
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.post(links["close"]).status_code == 202
    assert client.post(f"{job}/cancel").status_code == 200
    assert client.delete(job).status_code == 204


def test_new_work_is_refused_while_redis_lacks_the_order(client: FlaskClient, own_store: Storage) -> None:
    own_store.pausing.refuse(REASON)
    own_store.jobs.client.flushall()
    assert refused(photo(client))


def test_workers_claim_what_was_accepted_before(own_store: Storage) -> None:
    made = submit(own_store)
    own_store.pausing.refuse(REASON)
    assert [job.id for job in own_store.jobs.claim("token", "drainer", "worker")] == [made.id]
