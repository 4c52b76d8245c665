"""Another tenant's ids are answered like unknown ids, in every route that takes an id."""

import io
from collections.abc import Callable
from typing import Any

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage
from web.access import auth
from worker.housekeeping import recorder

Headers = dict[str, str]


@pytest.fixture
def client(connection: Storage) -> FlaskClient:
    return guarded(connection).test_client()


@pytest.fixture
def acme(connection: Storage) -> Headers:
    return bearer(new_key(connection, "acme"))


@pytest.fixture
def other(connection: Storage) -> Headers:
    return bearer(new_key(connection, "other"))


def submit(client: FlaskClient, who: Headers, seed: int = 0, **more: str) -> TestResponse:
    return client.post(
        "/v1/jobs", data=pictures.jpeg(seed=seed), content_type="image/jpeg", headers={**who, **more}
    )  # fmt: skip


def parts() -> dict[str, Any]:
    return {"data": {"image": [(io.BytesIO(pictures.jpeg()), "new.jpg")]}}


@pytest.fixture
def owned(client: FlaskClient, acme: Headers, connection: Storage, work: Callable[[], None]) -> dict[str, str]:
    """The ids of acme's jobs and batch, by their state."""
    finished, erased, lost = (submit(client, acme, seed).get_json()["id"] for seed in range(3))
    batch = client.post("/v1/batches", json={"name": "holidays"}, headers=acme).get_json()["id"]
    client.post(f"/v1/batches/{batch}/jobs", headers=acme, **parts())
    work()
    assert client.get(f"/v1/jobs/{finished}/mask", headers=acme).status_code == 200
    assert client.delete(f"/v1/jobs/{erased}", headers=acme).status_code == 204
    assert client.get(f"/v1/jobs/{erased}", headers=acme).status_code == 410
    connection.jobs.client.delete(f"{keys.PREFIX}job:{lost}")
    queued = submit(client, acme, 3).get_json()["id"]
    return {"finished": finished, "erased": erased, "lost": lost, "queued": queued, "batch": batch}


def seen(client: FlaskClient, who: Headers, method: str, path: str, identifier: str, **more: Any) -> tuple[Any, ...]:
    """Return the response's status, body and headers, without the id itself."""
    headers = {**who, "X-Request-ID": "one-for-all"}
    answer = client.open(path.replace("<id>", identifier), method=method, headers=headers, **more)
    found = (answer.status_code, answer.get_data(as_text=True).replace(identifier, "<id>"), list(answer.headers))
    answer.close()
    return found


def test_another_tenants_ids_look_like_unknown_ones(
    client: FlaskClient, acme: Headers, other: Headers, owned: dict[str, str], connection: Storage
) -> None:
    kept = {kind: f"/v1/jobs/{owned[kind]}" for kind in ("finished", "erased", "queued")}
    before = {kind: client.get(path, headers=acme).get_json() for kind, path in kept.items()}
    walked = 0
    for rule in client.application.url_map.iter_rules():
        for argument, kinds in (("job_id", ("finished", "erased", "lost", "queued")), ("batch_id", ("batch",))):
            if argument not in rule.arguments:
                continue
            assert rule.arguments == {argument}, "add the new argument to this test"
            path = rule.rule.replace(f"<{argument}>", "<id>")
            unknown = keys.new_job_id() if argument == "job_id" else keys.new_batch_id()
            for method in rule.methods or ():
                for body in ({}, parts) if method in ("POST", "PUT", "PATCH") else ({},):
                    for kind in kinds:
                        sent = [body() if callable(body) else body for _ in range(2)]
                        theirs = seen(client, other, method, path, owned[kind], **sent[0])
                        assert theirs == seen(client, other, method, path, unknown, **sent[1]), (method, path, kind)
                        of_admins = rule.endpoint.partition(".")[0] in auth.ADMIN_READS
                        assert method == "OPTIONS" or theirs[0] == (403 if of_admins else 404)
                        walked += 1
    assert walked > 60
    for kind, document in before.items():
        after = client.get(kept[kind], headers=acme).get_json()
        for name in set(document) - {"queue", "request_id"}:
            assert after[name] == document[name], (kind, name)
    assert connection.jobs.get(owned["lost"]) is None


def test_a_lost_job_hash_is_restored_only_for_its_owner(
    client: FlaskClient, acme: Headers, other: Headers, owned: dict[str, str], connection: Storage
) -> None:
    path = f"/v1/jobs/{owned['lost']}"
    assert client.get(path, headers=other).status_code == 404
    assert connection.jobs.get(owned["lost"]) is None
    assert client.get(path, headers=acme).get_json()["status"] == "succeeded"


def test_idempotency_keys_are_separate_per_tenant(client: FlaskClient, acme: Headers, other: Headers) -> None:
    key = {"Idempotency-Key": "one"}
    mine = submit(client, acme, **key)
    theirs = submit(client, other, seed=1, **key)
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert "Idempotency-Replayed" not in theirs.headers
    assert mine.get_json()["id"] != theirs.get_json()["id"]
    again = submit(client, acme, **key)
    assert (again.get_json()["id"], again.headers["Idempotency-Replayed"]) == (mine.get_json()["id"], "true")


def test_the_keys_of_one_tenant_see_the_same(client: FlaskClient, acme: Headers, connection: Storage) -> None:
    job = submit(client, acme).get_json()
    second = bearer(new_key(connection, "acme"))
    assert client.get(job["links"]["self"], headers=second).status_code == 200


def test_a_list_has_only_the_callers_jobs(recording: Storage) -> None:
    recording.models.publish(SHIPPED_MODEL)
    app = guarded(recording)
    client = app.test_client()
    acme, other = (bearer(new_key(recording, tenant)) for tenant in ("acme", "other"))
    batch = client.post("/v1/batches", json={}, headers=acme).get_json()["id"]
    client.post(f"/v1/batches/{batch}/jobs", headers=acme, **parts())
    mine, theirs = (submit(client, who).get_json()["id"] for who in (acme, other))
    recorder.record(recording)

    def listed(who: Headers, **query: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", headers=who, query_string=query).get_json()["data"]]

    assert len(listed(acme)) == 2
    assert mine in listed(acme)
    assert listed(other) == [theirs]
    assert len(listed(acme, batch_id=batch)) == 1
    assert listed(other, batch_id=batch) == listed(other, batch_id=keys.new_batch_id()) == []
    app.extensions["storage"].database.dispose()
