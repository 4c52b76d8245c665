"""Sessions by cookie: for a key, and for nobody in particular on a public page."""

from collections.abc import Callable
from typing import Any

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from storage.connection import Storage
from storage.records.api_key import key_id

PHOTO: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
SESSION, CSRF = "segue_session", "segue_csrf"


@pytest.fixture
def client(connection: Storage) -> FlaskClient:
    return guarded(connection, key_cache_s=0).test_client()


@pytest.fixture
def public(connection: Storage) -> FlaskClient:
    return guarded(connection, require_keys=False, public_page=True).test_client()


def cookies(answer: TestResponse) -> dict[str, str]:
    """Name → the whole Set-Cookie line."""
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


def csrf(client: FlaskClient) -> dict[str, str]:
    cookie = client.get_cookie(CSRF)
    return {"X-CSRF-Token": cookie.value if cookie else ""}


def test_a_key_becomes_two_cookies(client: FlaskClient, connection: Storage) -> None:
    key = new_key(connection)
    answer = client.post("/session", headers=bearer(key))
    assert (answer.status_code, answer.data) == (204, b"")
    made = cookies(answer)
    assert set(made) == {SESSION, CSRF}
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Expires="):
        assert part in made[SESSION]
    assert "HttpOnly" not in made[CSRF]
    assert "SameSite=Strict" in made[CSRF]
    assert "Secure" not in made[SESSION] + made[CSRF]
    assert key.rpartition("_")[2][:20] not in made[SESSION]
    assert client.get("/v1/queue").status_code == 200


def test_over_https_the_cookies_are_secure(client: FlaskClient, connection: Storage) -> None:
    answer = client.post("/session", headers=bearer(new_key(connection)), base_url="https://localhost")
    assert all("Secure" in line for line in cookies(answer).values())


def test_a_key_may_come_as_json(client: FlaskClient, connection: Storage) -> None:
    key = new_key(connection)
    assert client.post("/session", json={"key": key}).status_code == 204
    for body in ({"key": "wrong"}, {"key": ""}):
        assert client.post("/session", json=body).status_code == 401
    for more in ({"json": {"kee": key}}, {"json": []}, {"data": f'{{"key": "{key}"}}', "content_type": "text/plain"}):
        assert client.post("/session", **more).status_code == 400
    assert client.post("/session", json={"key": "x" * 10_000}).status_code == 413
    assert client.post("/session").status_code == 401


def test_a_change_needs_the_token(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": "\xff"}):
        answer = client.post("/v1/jobs", headers=headers, **PHOTO)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert client.post("/v1/jobs", headers=csrf(client), **PHOTO).status_code == 202
    assert client.get("/v1/queue").status_code == 200


@pytest.mark.parametrize(
    "foreign", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_a_change_comes_from_our_own_page(client: FlaskClient, connection: Storage, foreign: dict[str, str]) -> None:
    key = bearer(new_key(connection))
    client.post("/session", headers=key)
    own = {**csrf(client), "Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
    for method, path in (("POST", "/v1/jobs"), ("DELETE", "/session"), ("POST", "/session")):
        answer = client.open(path, method=method, headers={**csrf(client), **foreign}, **PHOTO)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden"), path
    assert client.post("/v1/jobs", headers=own, **PHOTO).status_code == 202
    assert client.post("/v1/jobs", headers={**key, **foreign}, **PHOTO).status_code == 202, "a key is no cookie"


def test_the_token_is_the_sessions_own(client: FlaskClient, connection: Storage) -> None:
    """A cookie that somebody planted does not make a token."""
    client.post("/session", headers=bearer(new_key(connection)))
    client.set_cookie(CSRF, "planted")
    assert client.post("/v1/jobs", headers={"X-CSRF-Token": "planted"}, **PHOTO).status_code == 403


def test_a_session_ends_with_its_key(client: FlaskClient, connection: Storage) -> None:
    key = new_key(connection)
    client.post("/session", headers=bearer(key))
    connection.api_keys.revoke(key_id(key) or "")
    answer = client.get("/v1/queue")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert set(cookies(answer)) == {SESSION, CSRF}
    assert client.get_cookie(SESSION) is None
    assert client.get_cookie(CSRF) is None


def test_signing_out(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    assert client.delete("/session").status_code == 403
    assert client.get("/v1/queue").status_code == 200
    assert client.delete("/session", headers=csrf(client)).status_code == 204
    assert client.get_cookie(SESSION) is None
    assert client.get("/v1/queue").status_code == 401
    assert client.delete("/session").status_code == 204


def test_a_session_ends_after_seven_days_however_much_it_is_used(
    client: FlaskClient, connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import itsdangerous.timed

    client.post("/session", headers=bearer(new_key(connection)))
    now = itsdangerous.timed.time.time()

    def later(days: float) -> Callable[[object], int]:
        return lambda _: int(now + days * 24 * 3600)

    monkeypatch.setattr(itsdangerous.timed.TimestampSigner, "get_timestamp", later(6.9))
    answer = client.get("/v1/queue")
    assert (answer.status_code, cookies(answer)) == (200, {})
    monkeypatch.setattr(itsdangerous.timed.TimestampSigner, "get_timestamp", later(7.1))
    assert client.get("/v1/queue").status_code == 401


def test_a_session_is_good_on_every_web_with_the_same_secret(client: FlaskClient, connection: Storage) -> None:
    from pydantic import SecretStr

    client.post("/session", headers=bearer(new_key(connection)))
    cookie = client.get_cookie(SESSION)
    assert cookie
    for secret, status in (("", 200), ("another secret that is long enough to sign", 401)):
        changes = {"session_secret": SecretStr(secret)} if secret else {}
        second = guarded(connection, **changes).test_client()
        second.set_cookie(SESSION, cookie.value)
        assert second.get("/v1/queue").status_code == status


def test_another_sites_page_makes_no_session(client: FlaskClient, public: FlaskClient, connection: Storage) -> None:
    for web in (client, public):
        headers = {**bearer(new_key(connection)), "Origin": "https://evil.example"}
        assert web.post("/session", headers=headers).status_code == 403


def test_a_public_page_gives_each_browser_a_tenant_of_its_own(public: FlaskClient, connection: Storage) -> None:
    second = public.application.test_client()
    jobs = []
    for browser in (public, second):
        assert browser.get("/v1/queue").status_code == 401
        assert browser.post("/session").status_code == 204
        jobs.append(browser.post("/v1/jobs", headers=csrf(browser), **PHOTO).get_json())
        assert browser.get(jobs[-1]["links"]["self"]).status_code == 200
    assert second.get(jobs[0]["links"]["self"]).status_code == 404
    tenants = {connection.jobs.get(job["id"]).spec.tenant for job in jobs}  # type: ignore[union-attr]
    assert len(tenants) == 2
    assert all(tenant.startswith("anon-") for tenant in tenants)
    assert public.post("/v1/models/rollback", json={}, headers=csrf(public)).status_code == 403


def test_a_second_tab_keeps_the_first_ones_tenant(public: FlaskClient) -> None:
    public.post("/session")
    job = public.post("/v1/jobs", headers=csrf(public), **PHOTO).get_json()
    public.delete_cookie(CSRF)
    assert public.post("/session").status_code == 204
    assert public.get(job["links"]["self"]).status_code == 200
    assert public.post("/v1/jobs", headers=csrf(public), **PHOTO).status_code == 202


def test_an_anonymous_session_is_worth_nothing_where_the_page_is_not_public(
    public: FlaskClient, client: FlaskClient
) -> None:
    public.post("/session")
    cookie = public.get_cookie(SESSION)
    assert cookie
    client.set_cookie(SESSION, cookie.value)
    assert client.get("/v1/queue").status_code == 401


def test_the_page_drops_a_session_that_is_none(client: FlaskClient) -> None:
    client.set_cookie(SESSION, "of an earlier secret")
    assert client.get("/").status_code == 200
    assert client.get_cookie(SESSION) is None
