"""Cookie sessions: for a key, and for anonymous visitors of a public page."""

from pathlib import Path
from typing import Any

import pictures
import pytest
from callers import SECRET, bearer, guarded, new_key
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import text
from werkzeug.test import TestResponse

from storage.clock import now_ms
from storage.connection import Storage, connect
from storage.records import schema
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
    """Map each cookie's name to its whole Set-Cookie header."""
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
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={7 * 24 * 3600}"):
        assert part in made[SESSION]
    assert "HttpOnly" not in made[CSRF]
    assert "SameSite=Strict" in made[CSRF]
    assert "Secure" not in made[SESSION] + made[CSRF]
    assert key.rpartition("_")[2][:20] not in made[SESSION]
    assert client.get("/v1/queue").status_code == 200


def test_over_https_the_cookies_are_secure_and_bound_to_the_host(client: FlaskClient, connection: Storage) -> None:
    answer = client.post("/session", headers=bearer(new_key(connection)), base_url="https://localhost")
    made = cookies(answer)
    assert set(made) == {f"__Host-{SESSION}", f"__Host-{CSRF}"}
    for line in made.values():
        assert "Secure" in line
        assert "Path=/" in line
        assert "Domain" not in line
    assert client.get("/v1/queue", base_url="https://localhost").status_code == 200
    token = client.get_cookie(f"__Host-{SESSION}")
    assert token
    planted = client.application.test_client()
    planted.set_cookie(SESSION, token.value)
    assert planted.get("/v1/queue", base_url="https://localhost").status_code == 401, (
        "a cookie without the __Host- prefix is ignored"
    )


def test_the_cookies_value_is_stored_nowhere(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    cookie = client.get_cookie(SESSION)
    assert cookie
    with connection.database.begin() as sql:
        rows = str(sql.execute(text("SELECT * FROM sessions")).all())
    assert cookie.value not in rows
    assert cookie.value not in str(client.get_cookie(CSRF))


def test_signing_in_again_rotates_the_session(client: FlaskClient, connection: Storage) -> None:
    key = bearer(new_key(connection))
    client.post("/session", headers=key)
    first = client.get_cookie(SESSION)
    client.post("/session", headers=key)
    second = client.get_cookie(SESSION)
    assert first
    assert second
    assert first.value != second.value
    assert replayed(client, first.value) == 401
    assert replayed(client, second.value) == 200


def replayed(client: FlaskClient, cookie: str) -> int:
    """Return the status of a request with this cookie from another browser."""
    thief = client.application.test_client()
    thief.set_cookie(SESSION, cookie)
    return thief.get("/v1/queue").status_code


def test_a_key_can_be_sent_as_json(client: FlaskClient, connection: Storage) -> None:
    key = new_key(connection)
    assert client.post("/session", json={"key": key}).status_code == 204
    for body in ({"key": "wrong"}, {"key": ""}):
        assert client.post("/session", json=body).status_code == 401
    for more in ({"json": {"kee": key}}, {"json": []}, {"data": f'{{"key": "{key}"}}', "content_type": "text/plain"}):
        assert client.post("/session", **more).status_code == 400
    assert client.post("/session", json={"key": "x" * 10_000}).status_code == 413
    assert client.post("/session").status_code == 401


def test_a_change_needs_the_csrf_token(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": "\xff"}):
        answer = client.post("/v1/jobs", headers=headers, **PHOTO)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert client.post("/v1/jobs", headers=csrf(client), **PHOTO).status_code == 202
    assert client.get("/v1/queue").status_code == 200


@pytest.mark.parametrize(
    "foreign", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_a_change_must_come_from_our_own_page(
    client: FlaskClient, connection: Storage, foreign: dict[str, str]
) -> None:
    key = bearer(new_key(connection))
    client.post("/session", headers=key)
    own = {**csrf(client), "Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
    for method, path in (("POST", "/v1/jobs"), ("DELETE", "/session"), ("POST", "/session")):
        answer = client.open(path, method=method, headers={**csrf(client), **foreign}, **PHOTO)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden"), path
    assert client.post("/v1/jobs", headers=own, **PHOTO).status_code == 202
    assert client.post("/v1/jobs", headers={**key, **foreign}, **PHOTO).status_code == 202, (
        "a request with a key is exempt"
    )


def test_the_csrf_token_belongs_to_its_session(client: FlaskClient, connection: Storage) -> None:
    """A planted cookie does not produce a valid token."""
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
    cookie = client.get_cookie(SESSION)
    assert cookie
    assert client.delete("/session", headers=csrf(client)).status_code == 204
    assert replayed(client, cookie.value) == 401
    assert client.get_cookie(SESSION) is None
    assert client.get("/v1/queue").status_code == 401
    assert client.delete("/session").status_code == 204


@pytest.mark.parametrize("column", ["seen_ms", "expires_ms"])
def test_a_session_ends_when_idle_and_at_its_maximum_age(client: FlaskClient, connection: Storage, column: str) -> None:
    """After a day without use, or seven days after its creation in any case."""
    client.post("/session", headers=bearer(new_key(connection)))
    times = {"seen_ms": connection.settings.session_idle_s * 1000, "expires_ms": 0}

    def move(by_ms: int) -> None:
        with connection.database.begin() as sql:
            at_ms = now_ms() - times[column] + by_ms
            sql.execute(text(f"UPDATE sessions SET {column} = {at_ms} WHERE ended_ms = 0"))

    move(60_000)
    assert client.get("/v1/queue").status_code == 200
    client.application.extensions["known_sessions"]._used.clear()
    move(-1)
    assert client.get("/v1/queue").status_code == 401


def test_use_extends_a_session(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    with connection.database.begin() as sql:
        sql.execute(text(f"UPDATE sessions SET seen_ms = {now_ms() - 3600_000}"))
    assert client.get("/v1/queue").status_code == 200
    client.application.extensions["journal"].flush()
    with connection.database.begin() as sql:
        [seen] = sql.execute(text("SELECT max(seen_ms) FROM sessions")).one()
    assert seen > now_ms() - 60_000


def test_a_session_is_valid_on_every_web_process_of_the_database(client: FlaskClient, connection: Storage) -> None:
    client.post("/session", headers=bearer(new_key(connection)))
    cookie = client.get_cookie(SESSION)
    assert cookie
    second = guarded(connection, session_secret=SecretStr("another secret that is long enough to sign"))
    second_client = second.test_client()
    second_client.set_cookie(SESSION, cookie.value)
    assert second_client.get("/v1/queue").status_code == 200


def test_an_anonymous_session_needs_the_same_secret(public: FlaskClient, connection: Storage) -> None:
    public.post("/session")
    cookie = public.get_cookie(SESSION)
    assert cookie
    for secret, status in ((SECRET, 200), ("another secret that is long enough to sign", 401)):
        changes = {"require_keys": False, "public_page": True, "session_secret": SecretStr(secret)}
        second = guarded(connection, **changes).test_client()
        second.set_cookie(SESSION, cookie.value)
        assert second.get("/v1/queue").status_code == status


def test_an_anonymous_session_ends_on_the_server_too(public: FlaskClient) -> None:
    public.post("/session")
    cookie = public.get_cookie(SESSION)
    assert cookie
    assert replayed(public, cookie.value) == 200
    assert public.delete("/session", headers=csrf(public)).status_code == 204
    assert replayed(public, cookie.value) == 401


def test_a_session_of_a_rotated_key_ends_with_the_old_secret(client: FlaskClient, connection: Storage) -> None:
    key = new_key(connection)
    client.post("/session", headers=bearer(key))
    connection.api_keys.rotate(key_id(key) or "", 3600_000)
    assert client.get("/v1/queue").status_code == 200
    rotated = connection.api_keys.rotate(key_id(key) or "", 0)
    assert rotated
    assert client.get("/v1/queue").status_code == 401
    assert client.post("/session", headers=bearer(rotated[1])).status_code == 204
    assert client.get("/v1/queue").status_code == 200


def test_sessions_continue_without_the_database(connection: Storage, tmp_path: Path) -> None:
    where = tmp_path / "records.db"
    made = connect(connection.settings.replace(sql_url=SecretStr(f"sqlite:///{where}")))
    schema.migrate(made.database)
    key = new_key(made)
    made.database.dispose()
    web = guarded(made, key_cache_s=0, public_page=True)
    signed_in, visitor, late = (web.test_client() for _ in range(3))
    signed_in.post("/session", headers=bearer(key))
    visitor.post("/session")
    assert [one.get("/v1/queue").status_code for one in (signed_in, visitor)] == [200, 200]
    web.extensions["journal"].flush()
    web.extensions["storage"].database.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    where.mkdir()  # SQLite cannot open a directory
    assert [one.get("/v1/queue").status_code for one in (signed_in, visitor)] == [200, 200]
    assert late.post("/session").status_code == 204, "a public page needs no database"
    assert late.get("/v1/queue").status_code == 200
    assert signed_in.delete("/session", headers=csrf(signed_in)).status_code == 503


def test_unknown_cookies_are_bounded_like_wrong_keys(connection: Storage) -> None:
    app = guarded(connection, limit_address="3/hour")
    statuses = []
    for number in range(5):
        browser = app.test_client()
        browser.set_cookie(SESSION, f"{number}" * 43)
        statuses.append(browser.get("/v1/queue").status_code)
    assert statuses == [401, 401, 401, 429, 429]


def test_another_sites_page_cannot_create_a_session(
    client: FlaskClient, public: FlaskClient, connection: Storage
) -> None:
    for web in (client, public):
        headers = {**bearer(new_key(connection)), "Origin": "https://evil.example"}
        assert web.post("/session", headers=headers).status_code == 403


def test_a_public_page_gives_each_browser_its_own_tenant(public: FlaskClient, connection: Storage) -> None:
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


@pytest.mark.parametrize("signed_in", [True, False], ids=["with a key", "anonymous"])
def test_a_shards_session_names_it_and_is_valid_there_only(connection: Storage, signed_in: bool) -> None:
    first, second = (
        guarded(connection, require_keys=False, public_page=True, shard=name, session_secret=SecretStr(name * 32))
        for name in ("a", "b")
    )
    client = first.test_client()
    assert client.post("/session", headers=bearer(new_key(connection)) if signed_in else {}).status_code == 204
    cookie = client.get_cookie(SESSION)
    assert cookie
    assert cookie.value.startswith("a~")
    assert replayed(client, cookie.value) == 200
    for changed in (cookie.value.replace("a~", "b~"), f"a~{cookie.value}", f"b~{cookie.value}"):
        assert [replayed(each.test_client(), changed) for each in (first, second)] == [401, 401]


@pytest.mark.parametrize("signed_in", [True, False], ids=["with a key", "anonymous"])
def test_a_session_stays_valid_when_its_installation_becomes_a_shard(
    public: FlaskClient, connection: Storage, signed_in: bool
) -> None:
    assert public.post("/session", headers=bearer(new_key(connection)) if signed_in else {}).status_code == 204
    cookie = public.get_cookie(SESSION)
    assert cookie
    shard = guarded(connection, require_keys=False, public_page=True, shard="a").test_client()
    assert replayed(shard, cookie.value) == 200


def test_a_second_tab_keeps_the_first_ones_tenant(public: FlaskClient) -> None:
    public.post("/session")
    job = public.post("/v1/jobs", headers=csrf(public), **PHOTO).get_json()
    public.delete_cookie(CSRF)
    assert public.post("/session").status_code == 204
    assert public.get(job["links"]["self"]).status_code == 200
    assert public.post("/v1/jobs", headers=csrf(public), **PHOTO).status_code == 202


def test_an_anonymous_session_is_invalid_if_the_page_is_not_public(public: FlaskClient, client: FlaskClient) -> None:
    public.post("/session")
    cookie = public.get_cookie(SESSION)
    assert cookie
    client.set_cookie(SESSION, cookie.value)
    assert client.get("/v1/queue").status_code == 401


def test_the_page_deletes_the_cookies_of_an_invalid_session(client: FlaskClient) -> None:
    client.set_cookie(SESSION, "of an earlier secret")
    assert client.get("/").status_code == 200
    assert client.get_cookie(SESSION) is None
