"""Authentication: keys, scopes, and the open server on loopback, which requires no key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import pytest
import services
from callers import BOTH, bearer, guarded, new_key
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from storage.clock import now_ms
from storage.connection import Storage, connect
from storage.records import schema
from storage.records.api_key import Scope, key_id
from storage.settings import Settings
from web import streams
from web.access.proxy import FORWARDING
from web.api import batches
from web.app import create_app

UNKNOWN_JOB = "/v1/jobs/job_01a203b4d5037207a59836e62a304243"
PHOTO: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}


def refused(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    problem = dict(answer.get_json())
    assert problem["code"] == code
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    return problem


@pytest.fixture
def keyed(connection: Storage) -> FlaskClient:
    return guarded(connection).test_client()


def test_without_a_key_only_the_page_and_the_probes_answer(keyed: FlaskClient) -> None:
    app = keyed.application
    for path in ("/", "/healthz", "/readyz", "/static/app.js"):
        answer = keyed.get(path)
        assert answer.status_code == 200
        answer.close()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/v1/"):
            path = rule.rule.replace("<job_id>", "x").replace("<batch_id>", "x").replace("<alias>", "stable")
            for method in rule.methods or ():
                answer = keyed.open(path, method=method)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path)
    refused(keyed.get("/v1/nothing"), 401, "unauthorized")
    assert set(app.view_functions) >= {"health.healthz", "health.readyz", "pages.index", "static"}


def test_a_server_beyond_loopback_requires_keys_by_default(connection: Storage) -> None:
    for changes in ({"bind": "0.0.0.0"}, {"bind": "10.0.0.1"}, {"bind": "::"}, {"public_page": True}):
        client = guarded(connection, **{"require_keys": False, **changes}).test_client()
        refused(client.get("/v1/queue"), 401, "unauthorized")


def test_a_key_authenticates_its_tenant(keyed: FlaskClient, connection: Storage) -> None:
    key = new_key(connection, "acme")
    job = keyed.post("/v1/jobs", headers=bearer(key), **PHOTO).get_json()
    record = connection.jobs.get(job["id"])
    assert record
    assert record.spec.tenant == "acme"
    assert keyed.get(job["links"]["self"], headers=bearer(key)).status_code == 200


def test_an_invalid_key_is_401_on_an_open_server_too(
    client: FlaskClient, keyed: FlaskClient, connection: Storage
) -> None:
    key = new_key(connection)
    revoked = new_key(connection)
    connection.api_keys.revoke(key_id(revoked) or "")
    other_end = key[:-1] + ("A" if key[-1] != "A" else "B")
    unknown = "seg_" + "0" * 12 + "_" + "a" * 43
    wrong = [bearer(text) for text in (other_end, unknown, revoked, "", "x", key[:-1])]
    wrong += [{"Authorization": "Basic dTpw"}, {"Authorization": key}, {"Authorization": "\xff"}]
    for headers in wrong:
        for web in (client, keyed):
            refused(web.get("/v1/queue", headers=headers), 401, "unauthorized")
    assert client.get("/v1/queue", headers=bearer(key)).status_code == 200
    for web in (client, keyed):
        web.set_cookie("segue_session", "forged")
        refused(web.get("/v1/queue"), 401, "unauthorized")


def test_each_method_needs_its_scope(keyed: FlaskClient, connection: Storage) -> None:
    keys = {scope: bearer(new_key(connection, "acme", (scope,))) for scope in Scope}
    asked = {
        Scope.READ: [("GET", "/v1/queue"), ("HEAD", "/v1/queue"), ("GET", UNKNOWN_JOB)],
        Scope.SUBMIT: [("POST", "/v1/jobs"), ("POST", "/v1/batches"), ("DELETE", UNKNOWN_JOB), ("PUT", UNKNOWN_JOB)],
        Scope.ADMIN: [("PUT", "/v1/models/aliases/stable"), ("POST", "/v1/models/rollback")],
    }
    for needed, requests in asked.items():
        for method, path in requests:
            for held, headers in keys.items():
                answer = keyed.open(path, method=method, headers=headers)
                assert (answer.status_code == 403) == (held not in (needed, Scope.ADMIN)), (method, path, held)
                assert answer.status_code != 401
    both = bearer(new_key(connection, "acme", BOTH))
    refused(keyed.post("/v1/models/rollback", json={}, headers=both), 403, "forbidden")


def test_a_mask_in_the_response_to_an_upload_needs_the_scope_of_get(
    keyed: FlaskClient, connection: Storage, work: Callable[[], None]
) -> None:
    for scopes, media_type in (((Scope.SUBMIT,), "application/json"), (BOTH, "image/png")):
        headers = {**bearer(new_key(connection, "acme", scopes)), "Idempotency-Key": media_type, "Accept": "image/png"}
        keyed.post("/v1/jobs", headers=headers, **PHOTO)
        work()
        answer = keyed.post("/v1/jobs", headers={**headers, "Prefer": "wait=9"}, **PHOTO)
        assert (answer.status_code, answer.mimetype) == (200, media_type)


def test_a_route_that_is_added_later_needs_a_credential(connection: Storage) -> None:
    app = guarded(connection)
    app.add_url_rule("/v1/later", "later", lambda: "here", methods=["GET", "POST"])
    client = app.test_client()
    assert client.get("/v1/later").status_code == client.post("/v1/later").status_code == 401
    reader = bearer(new_key(connection, "acme", (Scope.READ,)))
    assert client.get("/v1/later", headers=reader).status_code == 200
    assert client.post("/v1/later", headers=reader).status_code == 403


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]:8000", True),
        ("[::1]", True), ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
        ("evil@localhost", False), ("0.0.0.0", False), ("10.0.0.1:8000", False), ("", False), ("::1", False),
    ],
)  # fmt: skip
def test_an_open_server_accepts_only_loopback_host_names(client: FlaskClient, host: str, allowed: bool) -> None:
    """DNS rebinding: a page whose host name resolves to this machine sends that name as Host."""
    for path in ("/v1/queue", "/"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == (200 if allowed else 403)


def test_an_open_server_answers_only_this_machine(client: FlaskClient) -> None:
    refused(client.get("/v1/queue", environ_base={"REMOTE_ADDR": "10.0.0.9"}), 403, "forbidden")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost.evil"])
def test_an_open_server_refuses_requests_of_other_sites(client: FlaskClient, origin: str) -> None:
    refused(client.post("/v1/jobs", headers={"Origin": origin}, **PHOTO), 403, "forbidden")
    assert client.post("/v1/jobs", headers={"Origin": "http://localhost"}, **PHOTO).status_code == 202
    assert client.get("/v1/queue", headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize("header", FORWARDING)
def test_an_open_server_refuses_proxied_requests(client: FlaskClient, connection: Storage, header: str) -> None:
    passed = {header: "127.0.0.1"}
    assert client.get("/healthz").status_code == 200
    for path in ("/v1/queue", "/", "/healthz"):
        refused(client.get(path, headers=passed), 403, "forbidden")
    declared = create_app(connection.settings.replace(trusted_proxy="127.0.0.1")).test_client()
    client_is_here = {"X-Forwarded-For": "127.0.0.1", "Via": "1.1 proxy"}
    assert declared.get("/v1/queue", headers=client_is_here).status_code == 200
    refused(declared.get("/v1/queue", headers={"X-Forwarded-For": "10.0.0.9"}), 403, "forbidden")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_an_open_server_checks_sec_fetch_site(client: FlaskClient, site: str) -> None:
    refused(client.post("/v1/jobs", headers={"Sec-Fetch-Site": site}, **PHOTO), 403, "forbidden")
    for own in ("same-origin", "none"):
        assert client.post("/v1/jobs", headers={"Sec-Fetch-Site": own}, **PHOTO).status_code == 202


def test_a_rotated_key_works_at_once_and_its_old_secret_for_the_grace_period(connection: Storage) -> None:
    client, old = guarded(connection, key_cache_s=30).test_client(), new_key(connection)
    assert client.get("/v1/queue", headers=bearer(old)).status_code == 200
    rotated = connection.api_keys.rotate(key_id(old) or "", 3600_000)
    assert rotated
    assert [client.get("/v1/queue", headers=bearer(text)).status_code for text in (rotated[1], old)] == [200, 200]
    again = connection.api_keys.rotate(key_id(old) or "", 0)
    assert again
    assert client.get("/v1/queue", headers=bearer(again[1])).status_code == 200
    assert [client.get("/v1/queue", headers=bearer(text)).status_code for text in (rotated[1], old)] == [401, 401]


def test_an_expired_key_is_refused(connection: Storage) -> None:
    client = guarded(connection).test_client()
    _, text = connection.api_keys.create("acme", frozenset(BOTH), expires_ms=now_ms() - 1)
    refused(client.get("/v1/queue", headers=bearer(text)), 401, "unauthorized")
    refused(client.post("/session", headers=bearer(text)), 401, "unauthorized")


def test_the_last_use_of_a_key_is_recorded_in_the_background(connection: Storage) -> None:
    web, key = guarded(connection), new_key(connection)
    for headers in (bearer(key[:-1] + ("A" if key[-1] != "A" else "B")), bearer(key)):
        web.test_client().get("/v1/queue", headers=headers)
        web.extensions["journal"].flush()
        found = connection.api_keys.find(key_id(key) or "")
        assert found
        assert (found.last_used_ms > now_ms() - 3600_000) == (headers == bearer(key))


def test_a_revoked_key_is_refused_by_every_web_process(connection: Storage) -> None:
    assert Settings().key_cache_s <= 60
    webs = [guarded(connection, key_cache_s=0.2).test_client() for _ in range(2)]
    key = new_key(connection)
    assert [web.get("/v1/queue", headers=bearer(key)).status_code for web in webs] == [200, 200]
    connection.api_keys.revoke(key_id(key) or "")

    def stopped() -> bool:
        return [web.get("/v1/queue", headers=bearer(key)).status_code for web in webs] == [401, 401]

    services.wait_until(stopped, "the end of a revoked key", 30)


def test_without_the_database_a_known_key_works_and_a_new_one_gets_a_503(connection: Storage, tmp_path: Path) -> None:
    where = tmp_path / "records.db"
    made = connect(connection.settings.replace(sql_url=SecretStr(f"sqlite:///{where}")))
    schema.migrate(made.database)
    known, new = new_key(made), new_key(made)
    made.database.dispose()
    web = guarded(made, key_cache_s=0)
    client = web.test_client()
    assert client.get("/v1/queue", headers=bearer(known)).status_code == 200
    web.extensions["storage"].database.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    where.mkdir()  # SQLite cannot open a directory
    assert client.get("/v1/queue", headers=bearer(known)).status_code == 200
    answer = client.get("/v1/queue", headers=bearer(new))
    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


def test_an_event_stream_ends_when_its_key_is_revoked(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.PING_S + Settings().key_cache_s < 60
    monkeypatch.setattr(streams, "PING_S", 0.2)
    monkeypatch.setattr(batches, "EVENT_PAUSE_S", 0.0)
    connection.models.publish(services.SHIPPED_MODEL)
    client = guarded(connection, key_cache_s=0).test_client()
    key, other = new_key(connection), new_key(connection)
    batch = client.post("/v1/batches", json={}, headers=bearer(key)).get_json()
    opened = [client.get(batch["links"]["events"], headers=bearer(text)).iter_encoded() for text in (key, other)]
    for stream in opened:
        assert b"batch.progress" in next(stream)
        assert b"still here" in next(stream)
    connection.api_keys.revoke(key_id(key) or "")
    assert len(list(opened[0])) <= 1
    assert b"still here" in next(opened[1])
