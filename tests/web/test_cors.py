"""CORS_ORIGINS: which pages of other origins may read responses."""

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask.testing import FlaskClient

from storage.connection import Storage
from storage.settings import Settings
from web import cors
from web.access.exposure import refusal
from web.app import create_app
from web.openapi.headers import HEADERS

APP, OTHER = "https://app.example.org", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


def client_of(connection: Storage, **changes: object) -> FlaskClient:
    return create_app(connection.settings.replace(**changes)).test_client()


@pytest.mark.parametrize("method", ["get", "options"])
def test_nothing_is_allowed_by_default(client: FlaskClient, method: str) -> None:
    answer = getattr(client, method)("/v1/queue", headers={"Origin": APP, **PREFLIGHT})
    assert not [name for name in dict(answer.headers) if name.startswith("Access-Control")]


def test_a_preflight_needs_no_key(connection: Storage) -> None:
    client = guarded(connection, cors_origins=APP).test_client()
    answer = client.options("/v1/jobs", headers={"Origin": APP, **PREFLIGHT})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, APP)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    accepted = answer.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in accepted for name in ("authorization", "content-type", "idempotency-key", "prefer"))
    assert "Access-Control-Allow-Credentials" not in answer.headers
    foreign = client.options("/v1/jobs", headers={"Origin": OTHER, **PREFLIGHT})
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_a_listed_origin_can_read_responses_and_errors(connection: Storage) -> None:
    client = guarded(connection, cors_origins=f"{APP}, http://localhost:3000").test_client()
    for headers, status in ((bearer(new_key(connection)), 200), ({}, 401)):
        answer = client.get("/v1/queue", headers={"Origin": APP, **headers})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, APP)
        assert "Origin" in answer.vary
    foreign = client.get("/v1/queue", headers={"Origin": OTHER})
    assert "Access-Control-Allow-Origin" not in foreign.headers
    assert "Origin" in foreign.vary, "a cache must not serve this response to the other page"


def test_every_described_header_is_exposed() -> None:
    assert set(cors.EXPOSED) >= set(HEADERS) - {"Set-Cookie"}


def test_every_origin_may_read_if_a_key_is_required(connection: Storage) -> None:
    client = guarded(connection, cors_origins="*").test_client()
    answer = client.get("/v1/queue", headers={"Origin": OTHER, **bearer(new_key(connection))})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_a_listed_origin_may_submit_to_an_open_server(connection: Storage) -> None:
    client = client_of(connection, cors_origins="http://localhost:3000")
    photo = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
    for origin, status in (("http://localhost:3000", 202), (OTHER, 403)):
        assert client.post("/v1/jobs", headers={"Origin": origin}, **photo).status_code == status


def test_sessions_work_only_if_credentials_are_allowed(connection: Storage) -> None:
    for allowed, status in ((True, 204), (False, 403)):
        client = guarded(connection, public_page=True, cors_origins=APP, cors_credentials=allowed).test_client()
        answer = client.post("/session", headers={"Origin": APP})
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Credentials") == ("true" if allowed else None)
    anyone = guarded(connection, public_page=True, cors_origins="*").test_client()
    assert anyone.post("/session", headers={"Origin": OTHER}).status_code == 403


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cors_origins": "*", "cors_credentials": True, "require_keys": True}, "CORS_CREDENTIALS"),
        ({"cors_origins": "*"}, "REQUIRE_KEYS"),
        ({"cors_origins": "app.example.org"}, "is not an origin"),
        ({"cors_origins": "https://app.example.org/"}, "is not an origin"),
        ({"root_path": "segue"}, "ROOT_PATH"),
        ({"root_path": "//evil.example"}, "ROOT_PATH"),
    ],
)
def test_a_server_does_not_start_with(changes: dict[str, object], word: str) -> None:
    assert word in refusal(Settings().replace(**changes))


def test_a_server_starts_with() -> None:
    assert refusal(Settings().replace(cors_origins=APP, cors_credentials=True, root_path="/segue/")) == ""
