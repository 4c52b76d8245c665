"""The security headers of every response, including errors and files."""

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask import Flask
from flask.testing import FlaskClient

from storage.connection import Storage

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PATHS = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/app.js", "/v1/queue", "/v1/nothing", "/session")


@pytest.fixture
def keyed(connection: Storage) -> FlaskClient:
    return guarded(connection).test_client()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_response_has_security_headers(keyed: FlaskClient, path: str, scheme: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = keyed.open(path, method=method, base_url=f"{scheme}://localhost")
        for name, value in EXPECTED.items():
            assert answer.headers[name] == value, (method, name)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        transport = answer.headers.get("Strict-Transport-Security", "")
        assert transport.startswith("max-age=31536000") == (scheme == "https")
        answer.close()


def test_an_internal_error_has_security_headers_too(connection: Storage) -> None:
    app = guarded(connection)
    app.add_url_rule("/broken", "broken", _break)
    answer = app.test_client().get("/broken", headers=bearer(new_key(connection)))
    assert answer.status_code == 500
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def _break() -> str:
    raise ValueError("broken")


def test_private_documents_are_not_cached(keyed: FlaskClient, connection: Storage) -> None:
    key = bearer(new_key(connection))
    job = keyed.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", headers=key)
    listed = keyed.get("/v1/queue", headers=key)
    for answer in (job, listed, keyed.get(job.get_json()["links"]["self"], headers=key)):
        assert answer.headers["Cache-Control"] == "no-store"
        assert {"Authorization", "Cookie"} <= set(answer.headers["Vary"].split(", "))


def test_a_cached_mask_is_private_and_bound_to_its_credential(app: Flask, work: object) -> None:
    client = app.test_client()
    job = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()
    work()  # type: ignore[operator]
    answer = client.get(f"{job['links']['self']}/mask")
    assert answer.status_code == 200
    assert answer.cache_control.private
    assert {"Authorization", "Cookie"} <= set(answer.headers["Vary"].split(", "))
