"""A path prefix is accepted only from a declared proxy, and never names another host."""

import pictures
import pytest
from flask.testing import FlaskClient

from storage.connection import Storage
from web.app import create_app

PHOTO = {"data": pictures.jpeg(), "content_type": "image/jpeg"}


def client_of(connection: Storage, **changes: object) -> FlaskClient:
    return create_app(connection.settings.replace(**changes)).test_client()


def location(client: FlaskClient, path: str = "/v1/jobs", **headers: str) -> str:
    answer = client.post(path, headers={"X-Forwarded-For": "127.0.0.1", **headers}, **PHOTO)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == answer.get_json()["links"]["self"]
    return answer.headers["Location"].rpartition("/v1/")[0]


@pytest.mark.parametrize(
    ("sent", "root"),
    [("/segue", "/segue"), ("/a/b-c.d_e~f", "/a/b-c.d_e~f"), ("/segue/", "/segue"), ("", ""), ("/", "")],
)
def test_the_prefix_of_a_declared_proxy(connection: Storage, sent: str, root: str) -> None:
    client = client_of(connection, trusted_proxy="127.0.0.1")
    assert location(client, **{"X-Forwarded-Prefix": sent}) == root


@pytest.mark.parametrize("sent", ["//evil.example", "/a//b", "https://evil.example", "/a?b", "/a b", "segue", "/é"])
def test_an_invalid_prefix_is_ignored(connection: Storage, sent: str) -> None:
    client = client_of(connection, trusted_proxy="127.0.0.1")
    assert location(client, **{"X-Forwarded-Prefix": sent}) == ""


def test_the_prefix_of_an_undeclared_proxy_is_ignored(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", headers={"X-Forwarded-Prefix": "/segue"}, **PHOTO)
    assert not answer.headers.get("Location", "").startswith("/segue")


@pytest.mark.parametrize("path", ["/v1/jobs", "/segue/v1/jobs"])
def test_the_setting_serves_both_kinds_of_proxy(connection: Storage, path: str) -> None:
    client = client_of(connection, trusted_proxy="127.0.0.1", root_path="/segue")
    assert location(client, path) == "/segue"
    assert client.get("/segue").status_code == 200
    assert client.get("/seguex").status_code == 404


def test_a_failed_jobs_error_names_the_path_below_the_prefix(connection: Storage) -> None:
    client = client_of(connection, trusted_proxy="127.0.0.1", root_path="/segue")
    job = client.post("/v1/jobs", **PHOTO).get_json()
    canceled = client.post(job["links"]["cancel"]).get_json()
    assert canceled["error"]["instance"] == canceled["links"]["self"]
