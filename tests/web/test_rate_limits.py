"""Rate limits: how many requests a caller may make in a window."""

import io
import time
from collections.abc import Callable
from typing import Any

import pictures
import pytest
import redis
from callers import bearer, guarded, new_key
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from werkzeug.test import TestResponse

from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import Status
from storage.problems import Problem
from web.access.rate_limits import network, site
from web.admission import Admission

PHOTO: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
UNKNOWN = "seg_" + "0" * 12 + "_" + "a" * 43


@pytest.fixture(autouse=True)
def _model(connection: Storage) -> None:
    connection.models.publish(SHIPPED_MODEL)


def limited(answer: TestResponse) -> int:
    """Check the refusal. Returns the seconds of its Retry-After."""
    problem = answer.get_json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
    assert problem["retry_after_s"] == int(answer.headers["Retry-After"])
    return int(answer.headers["Retry-After"])


def append(client: FlaskClient, batch: str, count: int, headers: dict[str, str], start: int = 0) -> TestResponse:
    images = [(io.BytesIO(pictures.jpeg(seed=i)), f"{start + i}.jpg") for i in range(count)]
    return client.post(f"/v1/batches/{batch}/jobs", data={"image": images}, headers=headers)


def test_a_key_has_a_limit_and_reads_cost_nothing(connection: Storage) -> None:
    client = guarded(connection, limit_key="3/hour").test_client()
    mine, theirs = (bearer(new_key(connection, tenant)) for tenant in ("acme", "other"))
    assert [client.post("/v1/jobs", headers=mine, **PHOTO).status_code for _ in range(3)] == [202] * 3
    assert 0 < limited(client.post("/v1/jobs", headers=mine, **PHOTO)) <= 3601
    assert client.get("/v1/queue", headers=mine).status_code == 200
    assert client.post("/v1/jobs", headers=theirs, **PHOTO).status_code == 202


def test_all_web_processes_share_a_limit(connection: Storage) -> None:
    webs = [guarded(connection, limit_key="3/hour").test_client() for _ in range(2)]
    key = bearer(new_key(connection))
    statuses = [webs[i % 2].post("/v1/jobs", headers=key, **PHOTO).status_code for i in range(4)]
    assert statuses == [202, 202, 202, 429]


def test_an_append_costs_as_many_as_it_has_images(connection: Storage) -> None:
    client = guarded(connection, limit_key="10/hour").test_client()
    key = bearer(new_key(connection))
    batch = client.post("/v1/batches", json={}, headers=key).get_json()["id"]
    assert append(client, batch, 5, key).status_code == 202
    assert append(client, batch, 4, key, 5).status_code == 202
    limited(append(client, batch, 1, key, 9))
    assert client.get(f"/v1/batches/{batch}", headers=key).get_json()["counts"]["total"] == 9


def test_a_request_above_the_whole_limit_gets_no_retry_after(connection: Storage) -> None:
    client = guarded(connection, limit_key="4/hour").test_client()
    key = bearer(new_key(connection))
    batch = client.post("/v1/batches", json={}, headers=key).get_json()["id"]
    answer = append(client, batch, 5, key)  # it costs 1, because its body was read
    assert (answer.status_code, answer.get_json()["retryable"]) == (413, False)
    assert append(client, batch, 2, key).status_code == 202


def test_retry_after_is_accurate(connection: Storage) -> None:
    client = guarded(connection, limit_key="4/second").test_client()
    key = bearer(new_key(connection))
    batch = client.post("/v1/batches", json={}, headers=key).get_json()["id"]
    for start in range(0, 12, 4):
        answer = append(client, batch, 4, key, start)
        if answer.status_code == 429:
            time.sleep(limited(answer))
            answer = append(client, batch, 4, key, start)
        assert answer.status_code == 202


def test_renderings_count_beside_changes(connection: Storage, work: Callable[[], None]) -> None:
    """The stored mask and a 304 cost nothing."""
    client = guarded(connection, limit_key="3/hour").test_client()
    key = bearer(new_key(connection))
    job = client.post("/v1/jobs", headers=key, **PHOTO).get_json()
    work()
    mask = f"/v1/jobs/{job['id']}/mask"
    overlay = client.get(f"{mask}?format=overlay", headers=key)
    known = {**key, "If-None-Match": overlay.headers["ETag"]}
    for _ in range(5):
        assert client.get(mask, headers=key).status_code == 200
        assert client.get(f"{mask}?format=overlay", headers=known).status_code == 304
    for path in (f"{mask}?format=rle", f"/v1/jobs/{job['id']}/image"):
        assert client.get(path, headers=key).status_code == 200
    limited(client.get(f"{mask}?format=cutout", headers=key))
    assert client.post("/v1/jobs", headers=key, **PHOTO).status_code == 202


def test_jobs_that_a_list_names_are_counted(connection: Storage) -> None:
    client = guarded(connection, limit_key="5/hour").test_client()
    key = bearer(new_key(connection))
    query = {"ids": ",".join(keys.new_job_id() for _ in range(3))}
    assert client.get("/v1/jobs", query_string=query, headers=key).status_code == 200
    limited(client.get("/v1/jobs", query_string=query, headers=key))


def test_an_open_server_has_no_limits(connection: Storage) -> None:
    from web.app import create_app

    client = create_app(connection.settings.replace(limit_key="1/hour", limit_address="1/hour")).test_client()
    assert [client.post("/v1/jobs", **PHOTO).status_code for _ in range(3)] == [202] * 3


def entered(public: FlaskClient, address: str) -> tuple[FlaskClient, dict[str, str], dict[str, str]]:
    browser, where = public.application.test_client(), {"REMOTE_ADDR": address}
    assert browser.post("/session", environ_base=where).status_code == 204
    cookie = browser.get_cookie("segue_csrf")
    assert cookie
    return browser, where, {"X-CSRF-Token": cookie.value}


def test_anonymous_tenants_share_the_limit_of_their_address(connection: Storage) -> None:
    public = guarded(connection, public_page=True, limit_address="3/hour").test_client()
    statuses = []
    for _ in range(2):
        browser, where, csrf = entered(public, "10.0.0.1")
        statuses += [browser.post("/v1/jobs", headers=csrf, environ_base=where, **PHOTO).status_code for _ in range(2)]
    assert statuses == [202, 202, 202, 429]
    browser, where, csrf = entered(public, "10.0.0.2")
    assert browser.post("/v1/jobs", headers=csrf, environ_base=where, **PHOTO).status_code == 202


def test_an_anonymous_tenant_has_a_limit_too(connection: Storage) -> None:
    public = guarded(connection, public_page=True, limit_key="1/hour").test_client()
    browser, where, csrf = entered(public, "10.0.0.1")
    posted = [browser.post("/v1/jobs", headers=csrf, environ_base=where, **PHOTO) for _ in range(2)]
    assert posted[0].status_code == 202
    limited(posted[1])


def test_the_sessions_of_an_address_are_limited(connection: Storage) -> None:
    public = guarded(connection, public_page=True, limit_address="2/hour").test_client()
    for _ in range(2):
        entered(public, "10.0.0.1")
    limited(public.post("/session", environ_base={"REMOTE_ADDR": "10.0.0.1"}))
    entered(public, "10.0.0.2")


def test_the_addresses_of_one_ipv6_network_share_a_limit(connection: Storage) -> None:
    client = guarded(connection, limit_address="100/hour", limit_network="3/hour").test_client()

    def statuses(network: str, count: int) -> list[int]:
        addresses = [f"{network}:{number:x}::1" for number in range(count)]
        wrong = {"Authorization": "nonsense"}
        return [
            client.get("/v1/queue", headers=wrong, environ_base={"REMOTE_ADDR": address}).status_code
            for address in addresses
        ]

    assert statuses("2001:db8:1", 5) == [401, 401, 401, 429, 429]
    assert statuses("2001:db8:2", 1) == [401]


def test_after_too_many_wrong_keys_the_database_is_not_queried(connection: Storage) -> None:
    app = guarded(connection, limit_address="3/hour")
    client, api_keys = app.test_client(), app.extensions["storage"].api_keys
    key = new_key(connection)
    asked: list[str] = []
    find = api_keys.find

    def counting(key_id: str) -> Any:
        asked.append(key_id)
        return find(key_id)

    api_keys.find = counting
    assert client.get("/v1/queue", headers=bearer(key)).status_code == 200
    statuses = [client.get("/v1/queue", headers=bearer(UNKNOWN)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert len(asked) == 4
    limited(client.get("/v1/queue", headers={"Authorization": "nonsense"}))
    limited(client.post("/session", json={"key": UNKNOWN}))
    assert client.get("/v1/queue", headers=bearer(key)).status_code == 200, "a known key still works"
    elsewhere = {"REMOTE_ADDR": "10.0.0.2"}
    assert client.get("/v1/queue", headers=bearer(UNKNOWN), environ_base=elsewhere).status_code == 401


def test_our_keys_in_redis_have_our_prefix(connection: Storage) -> None:
    client = guarded(connection, public_page=True).test_client()
    client.get("/v1/queue", headers=bearer(UNKNOWN))
    browser, where, csrf = entered(client, "2001:db8::1")
    browser.post("/v1/jobs", headers=csrf, environ_base=where, **PHOTO)
    names = [name for name in connection.jobs.client.scan_iter() if "limit" in name.lower()]
    assert len(names) == 6
    assert all(name.startswith("segue:limits") for name in names)
    assert all(0 < connection.jobs.client.ttl(name) <= 60 for name in names)


def test_without_redis_a_limited_request_is_unavailable(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = guarded(connection)
    client, key = app.test_client(), bearer(new_key(connection))
    assert client.get("/v1/models", headers=key).status_code == 200
    monkeypatch.setattr(redis.BlockingConnectionPool, "get_connection", _away)
    for headers in (key, bearer(UNKNOWN)):
        answer = client.post("/v1/jobs", headers=headers, **PHOTO)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]


def test_an_exhausted_limit_refuses_without_redis(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    public = guarded(connection, public_page=True, limit_address="1/hour").test_client()
    where = {"REMOTE_ADDR": "10.0.0.1"}
    entered(public, "10.0.0.1")
    limited(public.post("/session", environ_base=where))
    monkeypatch.setattr(redis.BlockingConnectionPool, "get_connection", _away)
    limited(public.post("/session", environ_base=where))
    assert public.post("/session", environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 503


def _away(*_: object) -> None:
    raise redis.ConnectionError("away")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted


@pytest.mark.parametrize(
    ("address", "counted"),
    [("2001:db8:1:2:3::6", "2001:db8:1::/48"), ("::ffff:10.0.0.1", ""), ("10.0.0.1", ""), ("", ""), ("x", "")],
)
def test_what_counts_as_one_network(address: str, counted: str) -> None:
    assert site(address) == counted


def test_anonymous_tenants_at_one_address_take_turns_together(connection: Storage) -> None:
    public = guarded(connection, public_page=True).test_client()

    def party(address: str) -> str:
        browser, where, csrf = entered(public, address)
        job_id = browser.post("/v1/jobs", headers=csrf, environ_base=where, **PHOTO).get_json()["id"]
        batch = browser.post("/v1/batches", json={}, headers=csrf, environ_base=where).get_json()["id"]
        images = {"image": [(io.BytesIO(pictures.jpeg()), "a.jpg")]}
        sent = browser.post(f"/v1/batches/{batch}/jobs", data=images, headers=csrf, environ_base=where).get_json()
        jobs = connection.jobs.get_many([job_id, sent["items"][0]["job_id"]])
        [found] = {job.spec.party for job in jobs if job}
        assert "10.0.0" not in found
        return found

    assert party("10.0.0.1") == party("10.0.0.1") != party("10.0.0.2")
    acme = public.post("/v1/jobs", headers=bearer(new_key(connection)), **PHOTO).get_json()["id"]
    job = connection.jobs.get(acme)
    assert job
    assert job.spec.party == ""


def canceled_batch(client: FlaskClient, connection: Storage, headers: dict[str, str], count: int) -> str:
    batch = str(client.post("/v1/batches", json={}, headers=headers).get_json()["id"])
    sent = append(client, batch, count, headers).get_json()["items"]
    for item in sent:
        job = connection.jobs.get(item["job_id"])
        assert job
        lifecycle.cancel(connection.objects, connection.jobs, job)
    return batch


def queued(connection: Storage, batch: str) -> int:
    return sum(job.status is Status.QUEUED for job in connection.batches.jobs(batch))


def test_retrying_a_batch_costs_one_per_enqueued_job(connection: Storage) -> None:
    """If the limit stops a retry, the repeated request continues where it stopped."""
    client = guarded(connection, limit_key="8/hour").test_client()
    key = bearer(new_key(connection))
    batch = canceled_batch(client, connection, key, 6)
    limited(client.post(f"/v1/batches/{batch}/retry", headers=key))
    assert queued(connection, batch) == 0
    other_web = guarded(connection, limit_key="4/minute").test_client()
    limited(other_web.post(f"/v1/batches/{batch}/retry", headers=key))
    assert queued(connection, batch) == 4
    roomy = guarded(connection, limit_key="100/hour").test_client()
    assert roomy.post(f"/v1/batches/{batch}/retry", headers=key).status_code == 202
    assert queued(connection, batch) == 6


def test_a_full_queue_refuses_retries(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = guarded(connection).test_client()
    key = bearer(new_key(connection))
    batch = canceled_batch(client, connection, key, 2)
    job_id = next(connection.batches.live.job_ids(batch))[0]

    def refuse(_: Admission, images: int = 1) -> None:
        raise Problem("queue_full", f"No room for {images}.", 1)

    monkeypatch.setattr(Admission, "check", refuse)
    for path in (f"/v1/batches/{batch}/retry", f"/v1/jobs/{job_id}/retry"):
        assert client.post(path, headers=key).get_json()["code"] == "queue_full"
    assert queued(connection, batch) == 0
