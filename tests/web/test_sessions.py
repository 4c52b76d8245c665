"""Listing and ending sessions: by their own key, and by an admin of the tenant."""

from typing import Any

import pytest
from callers import bearer, guarded, new_key
from flask import Flask
from flask.testing import FlaskClient

from storage.connection import Storage
from storage.records.api_key import Scope
from web import streams
from web.access.sessions import CSRF_COOKIE
from web.api import batches
from web.app import create_app


@pytest.fixture
def web(own_store: Storage) -> Flask:
    return guarded(own_store, key_cache_s=0)


def entered(web: Flask, key: str, agent: str = "a browser") -> FlaskClient:
    client = web.test_client()
    assert client.post("/session", headers={**bearer(key), "User-Agent": agent}).status_code == 204
    return client


def token(client: FlaskClient) -> dict[str, str]:
    cookie = client.get_cookie(CSRF_COOKIE)
    return {"X-CSRF-Token": cookie.value if cookie else ""}


def listed(client: FlaskClient, **how: Any) -> list[dict[str, Any]]:
    answer = client.get("/sessions", **how)
    assert answer.status_code == 200
    return list(answer.get_json()["data"])


def statuses(*clients: FlaskClient) -> list[int]:
    return [client.get("/v1/queue").status_code for client in clients]


def test_a_key_sees_and_ends_only_its_own_sessions(web: Flask, own_store: Storage) -> None:
    key, same_tenant, other = new_key(own_store), new_key(own_store), new_key(own_store, "other")
    first, second = entered(web, key, "one"), entered(web, key, "two\u0007 <b>")
    strangers = [entered(web, same_tenant), entered(web, other)]
    found = {session["agent"]: session for session in listed(first)}
    assert set(found) == {"one", "two <b>"}
    assert [found[agent]["current"] for agent in ("one", "two <b>")] == [True, False]
    for stranger in strangers:
        assert stranger.delete(f"/sessions/{found['one']['id']}", headers=token(stranger)).status_code == 404
    assert first.delete(f"/sessions/{found['two <b>']['id']}").status_code == 403, "the CSRF token is required"
    assert first.delete(f"/sessions/{found['two <b>']['id']}", headers=token(first)).status_code == 204
    assert statuses(first, second, *strangers) == [200, 401, 200, 200]
    assert first.delete(f"/sessions/{found['one']['id']}", headers=token(first)).status_code == 204
    assert first.get_cookie("segue_session") is None
    assert listed(first, headers=bearer(key)) == []


def test_a_key_of_any_scope_ends_all_of_its_sessions(web: Flask, own_store: Storage) -> None:
    for scope in (Scope.READ, Scope.SUBMIT):
        key = new_key(own_store, scopes=(scope,))
        clients = [entered(web, key) for _ in range(3)]
        assert len(listed(web.test_client(), headers=bearer(key))) == 3
        assert web.test_client().delete("/sessions", headers=bearer(key)).status_code == 204
        assert statuses(*clients) == [401] * 3


def test_an_admin_ends_a_tenants_sessions(web: Flask, own_store: Storage) -> None:
    admin = bearer(new_key(own_store, "ops", (Scope.ADMIN,)))
    member = new_key(own_store)
    mine = [entered(web, member), entered(web, new_key(own_store))]
    other = entered(web, new_key(own_store, "other"))
    for method in ("GET", "DELETE"):
        path = "/sessions?tenant=other"
        assert web.test_client().open(path, method=method, headers=bearer(member)).status_code == 403
    assert web.test_client().get("/sessions?tenant=a%00b", headers=admin).status_code == 400
    assert len(listed(web.test_client(), headers=admin, query_string={"tenant": "acme"})) == 2
    assert web.test_client().delete("/sessions?tenant=acme", headers=admin).status_code == 204
    assert statuses(*mine, other) == [401, 401, 200]


def test_an_anonymous_visitor_sees_and_ends_its_own(own_store: Storage) -> None:
    public = guarded(own_store, require_keys=False, public_page=True)
    visitor, second = public.test_client(), public.test_client()
    for client in (visitor, second):
        client.post("/session")
    [session] = listed(visitor)
    assert session["current"]
    assert second.delete(f"/sessions/{session['id']}", headers=token(second)).status_code == 404
    assert visitor.delete("/sessions", headers=token(visitor)).status_code == 204
    assert statuses(visitor, second) == [401, 200]


def test_an_open_server_has_no_sessions(connection: Storage) -> None:
    client = create_app(connection.settings).test_client()
    assert listed(client) == []
    assert client.delete("/sessions").status_code == 204


def test_an_event_stream_ends_with_its_session(web: Flask, own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_S", 0.2)
    monkeypatch.setattr(batches, "EVENT_PAUSE_S", 0.0)
    own_store.models.publish(services_model())
    key = new_key(own_store)
    client, other = entered(web, key), entered(web, key)
    batch = client.post("/v1/batches", json={}, headers=token(client)).get_json()
    opened = [one.get(batch["links"]["events"]).iter_encoded() for one in (client, other)]
    for stream in opened:
        assert b"batch.progress" in next(stream)
        assert b"still here" in next(stream)
    assert client.delete("/session", headers=token(client)).status_code == 204
    assert len(list(opened[0])) <= 1
    assert b"still here" in next(opened[1])


def services_model() -> Any:
    from services import SHIPPED_MODEL

    return SHIPPED_MODEL
