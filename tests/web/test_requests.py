"""Refused requests: each gets one clear problem document without internals, and stores nothing."""

import copy
import io
from typing import Any

import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from storage.connection import Storage
from web.filenames import clean_filename


def image(content: bytes | None = None, name: str = "a.jpg") -> tuple[io.BytesIO, str]:
    return io.BytesIO(pictures.jpeg() if content is None else content), name


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({}, 415, "unsupported_media_type"),
    "json": ({"json": {"image": "x"}}, 400, "invalid_request"),
    "empty raw body": ({"data": b"", "content_type": "image/jpeg"}, 422, "unprocessable_image"),
    "text as an image": ({"data": b"hello", "content_type": "image/jpeg"}, 415, "unsupported_media_type"),
    "no image part": ({"data": {"other": image()}}, 400, "invalid_request"),
    "image as text": ({"data": {"image": "x"}, "content_type": "multipart/form-data"}, 400, "invalid_request"),
    "two images": ({"data": MultiDict([("image", image()), ("image", image())])}, 400, "invalid_request"),
    "image and another file": ({"data": {"image": image(), "more": image()}}, 400, "invalid_request"),
    "unknown field": ({"data": {"image": image(), "colour": "red"}}, 400, "invalid_request"),
    "unknown query": ({"data": {"image": image()}, "query_string": {"x": "1"}}, 400, "invalid_request"),
    "wrong priority": ({"data": {"image": image(), "priority": "now"}}, 400, "invalid_request"),
    "wrong deadline": ({"data": {"image": image(), "deadline_s": "0"}}, 400, "invalid_request"),
    "deadline too far": ({"data": {"image": image(), "deadline_s": "604801"}}, 400, "invalid_request"),
    "field twice": (
        {"data": MultiDict([("image", image()), ("priority", "bulk"), ("priority", "bulk")])}, 400, "invalid_request",
    ),
    "field in form and query": (
        {"data": {"image": image(), "priority": "bulk"}, "query_string": {"priority": "bulk"}}, 400, "invalid_request",
    ),
    "too large": ({"data": {"image": image(b"\xff\xd8\xff" + b"\0" * 11_000_000)}}, 413, "payload_too_large"),
    "too large and raw": (
        {"data": b"\xff\xd8\xff" + b"\0" * 11_000_000, "content_type": "image/jpeg"}, 413, "payload_too_large",
    ),
    "just over the image's limit": (
        {"data": b"\xff\xd8\xff" + b"\0" * (10 * 1024 * 1024), "content_type": "image/jpeg"}, 413, "payload_too_large",
    ),
    "10,000 parts": ({"data": {"image": image(), **{f"f{i}": "x" for i in range(10_000)}}}, 413, "payload_too_large"),
    "broken multipart": (
        {"data": b"--x\r\nnonsense", "content_type": "multipart/form-data; boundary=x"}, 400, "invalid_request",
    ),
    "multipart without boundary": ({"data": b"x", "content_type": "multipart/form-data"}, 400, "invalid_request"),
}  # fmt: skip


JPEG = {"content_type": "image/jpeg"}
DETAILS: dict[str, tuple[dict[str, Any], str]] = {
    "no body": ({}, "The Content-Type is missing: send multipart/form-data"),
    "a form of text": ({"data": {"priority": "bulk"}}, "The Content-Type is `application/x-www-form-urlencoded`"),
    "no image part": ({"data": {"other": image()}}, "The form has no file in the field `image`."),
    "image as text": (
        {"data": {"image": "x"}, "content_type": "multipart/form-data"},
        "has no file name, so it is text",
    ),
    "no boundary": ({"data": b"x", "content_type": "multipart/form-data"}, "needs a boundary"),
    "two images": ({"data": MultiDict([("image", image()), ("image", image())])}, "The form has 2 files"),
    "tags as a JSON list": (
        {"data": {"image": image(), "tags": '["a","b"]'}},
        "tags: send the words separated by commas",
    ),
    "too large": (
        {"data": b"\xff\xd8\xff" + bytes(10 * 1024 * 1024), **JPEG},
        f"The image has {10 * 1024 * 1024 + 3} bytes; at most {10 * 1024 * 1024} are accepted.",
    ),
}


@pytest.mark.parametrize("name", DETAILS)
def test_a_refusal_names_the_error_of_the_request(client: FlaskClient, name: str) -> None:
    arguments, detail = copy.deepcopy(DETAILS[name])  # a sent file is closed
    assert detail in client.post("/v1/jobs", **arguments).get_json()["detail"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(client: FlaskClient, connection: Storage, name: str) -> None:
    arguments, status, code = copy.deepcopy(REFUSED[name])
    answer = client.post("/v1/jobs", **arguments)
    problem = answer.get_json()
    assert (answer.status_code, problem["code"], answer.content_type) == (status, code, "application/problem+json")
    assert "Traceback" not in answer.text
    assert sum(connection.jobs.queue().pending.values()) == 0


def test_a_wrong_extension_on_a_valid_image_is_accepted(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data={"image": image(name="notes.txt")}).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("get", "/v1/nothing", 404, "not_found"), ("put", "/v1/jobs", 405, "method_not_allowed")],
)
def test_wrong_paths_and_methods(client: FlaskClient, method: str, path: str, status: int, code: str) -> None:
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert status != 405 or "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("a\r\nX-Evil: 1\x00.jpg", "aX-Evil: 1.jpg"),
        ("gpj.\u202ecat", "gpj.cat"),
        ("猫.jpg", "猫.jpg"),
        ("é" * 300, "é" * 127),
        ("\ud800.jpg", ".jpg"),
        ("a\u2028b\u200fc\u2066.jpg", "abc.jpg"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg", "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg"),
        ("\u0645\u06cc\u200c\u062e.jpg", "\u0645\u06cc\u200c\u062e.jpg"),
        ("\U0001fae8\uf8ff.jpg", "\U0001fae8\uf8ff.jpg"),
        ("e\u0301.jpg", "e\u0301.jpg"),
        ("\u00e9.jpg", "\u00e9.jpg"),
        ("", ""),
    ],
)
def test_a_filename_is_cleaned_for_display(given: str, kept: str) -> None:
    assert clean_filename(given) == kept


def test_request_ids_are_kept_if_harmless(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "trace-1"}).headers["X-Request-ID"] == "trace-1"
    for evil in ("a b", "x" * 65, "<script>"):
        assert client.get("/healthz", headers={"X-Request-ID": evil}).headers["X-Request-ID"] != evil


def test_an_internal_error_shows_no_details(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(app.extensions["storage"].jobs, "queue", broken)
    answer = app.test_client().get("/v1/queue")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_the_queue(client: FlaskClient, connection: Storage) -> None:
    client.post("/v1/jobs", data={"image": image(), "priority": "bulk"})
    queue = client.get("/v1/queue").get_json()
    assert queue["lanes"]["bulk"]["pending"] == 1
    assert queue["lanes"]["bulk"]["oldest_age_s"] >= 0
    assert queue["lanes"]["interactive"] == {"pending": 0, "running": 0, "oldest_age_s": None}
    assert (queue["workers"], queue["images_per_s"], queue["backlog_s"]) == (0, 0, None)
