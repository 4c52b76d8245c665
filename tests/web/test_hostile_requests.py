"""Hostile requests: each gets a prompt 4xx, never a 5xx, and no response shows internals."""

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient
from services import SHIPPED_MODEL

from storage.connection import Storage, connect
from storage.settings import Settings

PROMPT_S = 30  # generous for a loaded machine; a hang takes longer
OURS = re.compile(rb"Traceback|\.py\b|/tmp/|/usr/|/home/|site-packages|Redis|Minio|pydantic|werkzeug", re.IGNORECASE)
LONG, NESTED = "9" * 5000, "[" * 100_000
BOUNDARY = "frontier"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module", autouse=True)
def _model(settings: Settings) -> None:
    connect(settings).models.publish(SHIPPED_MODEL)


def part(disposition: bytes, content: bytes) -> bytes:
    return b"--frontier\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> dict[str, Any]:
    return {"data": b"".join(parts) + b"--frontier--\r\n", "content_type": MULTIPART}


PHOTO = part(b'name="image"; filename="a.jpg"', pictures.jpeg())
RAW = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
JSON = "application/json"

JSON_BODIES: dict[str, bytes] = {
    "nested lists": NESTED.encode(),
    "nested lists, closed": (NESTED + "]" * 100_000).encode(),
    "nested objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "nested where a name is": b'{"name":' + NESTED.encode() + b"]" * 100_000 + b"}",
    "a long number": f'{{"name":{LONG}}}'.encode(),
    "infinity": b'{"options":{"deadline_s":1e999}}',
    "a lone surrogate": b'{"name":"\\ud800","version":"\\ud800"}',
    "invalid UTF-8": b'{"name":"\xff\xfe","version":"\xff"}',
    "a null byte": b'{"name":null,"version":"a/\\u0000b"}',
    "twice the same": b'{"version":"a/1","version":"../../etc/passwd"}',
    "a path": b'{"version":"../../../etc/passwd"}',
    "an absolute path": b'{"version":"/etc/passwd"}',
    "megabytes": b'{"version":"' + b"x" * 5_000_000 + b'"}',
    "a list": b"[]",
    "nothing": b"",
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
}


def assert_refused(answer: Any, started: float) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert time.monotonic() - started < PROMPT_S
    assert answer.content_type == "application/problem+json"
    assert set(json.loads(answer.data)) >= {"type", "title", "status", "detail", "code"}
    assert not OURS.search(answer.data), answer.text
    assert len(answer.data) < 10_000  # the response may quote the requested path


@pytest.mark.parametrize("name", JSON_BODIES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/v1/batches"), ("put", "/v1/models/aliases/stable"), ("post", "/v1/models/rollback"),
        ("post", "/session"), ("post", "{job}/feedback"),
    ],
)  # fmt: skip
def test_json(client: FlaskClient, method: str, path: str, name: str) -> None:
    path = path.replace("{job}", client.post("/v1/jobs", **RAW).headers["Location"]) if "{job}" in path else path
    started = time.monotonic()
    answer = getattr(client, method)(path, data=JSON_BODIES[name], content_type=JSON)
    assert_refused(answer, started)
    assert not answer.get_json()["detail"].startswith(":")


HOSTILE: dict[str, dict[str, Any]] = {
    "10,000 fields": form(PHOTO, *[part(b'name="f%d"' % i, b"x") for i in range(10_000)]),
    "10,000 images": form(*[PHOTO] * 10_000),
    "10,000 query parameters": RAW | {"query_string": "&".join(f"f{i}=1" for i in range(10_000))},
    "a field twice": form(PHOTO, part(b'name="priority"', b"bulk"), part(b'name="priority"', b"bulk")),
    "a query parameter twice": RAW | {"query_string": "priority=bulk&priority=bulk"},
    "in query and form": form(PHOTO, part(b'name="priority"', b"bulk")) | {"query_string": "priority=bulk"},
    "invalid UTF-8 in a field": form(PHOTO, part(b'name="priority"', b"\xff\xfe")),
    "invalid UTF-8 in a field's name": form(PHOTO, part(b'name="\xff\xfe"', b"bulk")),
    "invalid UTF-8 in the query": RAW | {"query_string": "priority=%ff%fe"},
    "raw bytes in the query": RAW | {"query_string": "priority=\xff\x01"},
    "a null byte in a field": form(PHOTO, part(b'name="priority"', b"bulk\0")),
    "a null byte in the query": RAW | {"query_string": "model=stable%00"},
    "line ends in the model": RAW | {"query_string": "model=a%0d%0aX-Evil:%201/1"},
    "a path as model": RAW | {"query_string": "model=../../etc/passwd"},
    "a model with dots": RAW | {"query_string": "model=../1"},
    "an absolute model": RAW | {"query_string": "model=/1"},
    "a model of strange letters": RAW | {"query_string": "model=%e2%80%ae/%00"},
    "a long model": RAW | {"query_string": f"model={LONG}"},
    "a long deadline": RAW | {"query_string": f"deadline_s={LONG}"},
    "an infinite deadline": RAW | {"query_string": "deadline_s=1e999"},
    "not a deadline": RAW | {"query_string": "deadline_s=NaN"},
    "a template": RAW | {"query_string": "priority={{7*7}}${7*7}"},
    "no disposition": form(b"--frontier\r\n\r\nx\r\n"),
    "a part's header without end": form(b"--frontier\r\nContent-Disposition: form-data; name=" + b"x" * 200_000),
    "10,000 headers in a part": form(b"--frontier\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\nx\r\n"),
    "a boundary of nothing": {"data": b"--\r\n", "content_type": "multipart/form-data; boundary="},
    "a strange boundary": {"data": b"--\r\n", "content_type": "multipart/form-data; boundary=\xff\x01\x02"},
    "multipart within multipart": form(part(b'name="image"; filename="a"', form(PHOTO)["data"])),
    "an encoded part": form(
        b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
        b"Content-Transfer-Encoding: base64\r\nContent-Encoding: gzip\r\n\r\nx\r\n"
    ),
    "a charset that is not there": {"data": b"x", "content_type": "image/jpeg; charset=\x00evil"},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_uploads(client: FlaskClient, connection: Storage, name: str) -> None:
    started = time.monotonic()
    assert_refused(client.post("/v1/jobs", **HOSTILE[name]), started)
    assert sum(connection.jobs.queue().pending.values()) == 0


MANY: dict[str, Callable[[], dict[str, Any]]] = {
    "10,000 fields": lambda: form(*[part(b'name="f%d"' % i, b"x") for i in range(10_000)]),
    "10,000 images": lambda: form(*[PHOTO] * 10_000),
    "10,000 masks": lambda: form(*[part(b'name="mask"; filename="m.png"', b"x")] * 10_000),
    "one of 45 MB": lambda: form(part(b'name="image"; filename="a.jpg"', bytes(45_000_000))),
    "a field of 45 MB": lambda: form(part(b'name="verdict"', b"x" * 45_000_000)),
}


@pytest.mark.parametrize("path", ["{batch}/jobs", "{job}/feedback"])
@pytest.mark.parametrize("name", MANY)
def test_many_or_large_parts(client: FlaskClient, path: str, name: str) -> None:
    job = client.post("/v1/jobs", **RAW).headers["Location"]
    batch = client.post("/v1/batches", data=b"{}", content_type=JSON).headers["Location"]
    body, started = MANY[name](), time.monotonic()
    answer = client.post(path.format(job=job, batch=batch), **body)
    assert_refused(answer, started)
    assert answer.status_code == 413


IDS = (
    "..", "../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5cwin.ini", "%00", "a%00b", "%ff%fe",
    "%0d%0aX-Evil:1", "x" * 5000, "*", "{7*7}", "job_", "job_%2e%2e", "batch_..", "'; drop", "%e2%80%ae",
    "job_00000000000000000000000000",
)  # fmt: skip
ROUTES = (
    ("get", "/v1/jobs/{}"), ("get", "/v1/jobs/{}/mask"), ("post", "/v1/jobs/{}/cancel"), ("post", "/v1/jobs/{}/retry"),
    ("delete", "/v1/jobs/{}"), ("get", "/v1/batches/{}"), ("get", "/v1/batches/{}/results"),
    ("get", "/v1/batches/{}/archive.zip"), ("get", "/v1/batches/{}/events"), ("post", "/v1/batches/{}/close"),
    ("post", "/v1/batches/{}/cancel"), ("post", "/v1/batches/{}/retry"), ("put", "/v1/models/aliases/{}"),
    ("get", "/static/{}"), ("get", "/{}"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_hostile_ids_are_not_found(client: FlaskClient, method: str, route: str) -> None:
    for given in IDS:
        started = time.monotonic()
        answer = getattr(client, method)(route.format(given))
        assert_refused(answer, started)
        assert answer.status_code in (404, 405), given


HEADERS = {
    "Prefer": ("wait=" + LONG, "wait=-1", "wait=wait=1;wait", "wait=\xb2", "\xff" * 100, ", " * 2000),
    "If-None-Match": ('"' + LONG, "W/" * 3000, "\xff", '"a", ' * 1500, "*"),
    "Idempotency-Key": ("\xff\xfe", "x" * 8000, "{}", "\x01\x7f", "../../a"),
    "X-Request-ID": ("\xff", "x" * 8000, "${jndi:x}"),
    "Range": ("bytes=" + "0-," * 2000, "bytes=-" + LONG),
    "Accept": ("*/*;q=" + LONG, ",;" * 2000),
    "Content-Encoding": ("gzip", "deflate, br"),
    "Host": ("evil.example", "x" * 3000, "[::", "a b"),
    "X-Forwarded-For": ("127.0.0.1" * 500,),
    "X-HTTP-Method-Override": ("DELETE",),
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers(client: FlaskClient, header: str) -> None:
    path = client.post("/v1/jobs", **RAW).headers["Location"]
    for value in HEADERS[header]:
        for answer in (
            client.get(path, headers={header: value}),
            client.get("/", headers={header: value}),
            client.post("/v1/jobs", **RAW, headers={header: value}),
        ):
            assert answer.status_code < 500, value
            assert not OURS.search(answer.data) or answer.mimetype == "text/html"
            assert all(given not in str(answer.headers) for given in ("evil", "jndi", LONG))


@pytest.mark.parametrize("query", ["after=" + LONG, "after=99999999999999999999", "after=-1", "after=1e3", "after=%ff"])
def test_cursors(client: FlaskClient, query: str) -> None:
    batch = client.post("/v1/batches", data=b"{}", content_type=JSON).get_json()
    answer = client.get(f"/v1/batches/{batch['id']}/results?{query}")
    assert answer.status_code < 500
    assert not OURS.search(answer.data)


@pytest.mark.parametrize(
    "query", ["alpha=nan", "alpha=inf", "alpha=1e999", "alpha=%ff", "format=../index", "alpha=" + "9" * 9999]
)
def test_renderings(client: FlaskClient, query: str) -> None:
    path = client.post("/v1/jobs", **RAW).headers["Location"]
    answer = client.get(f"{path}/mask?{query}")
    assert 400 <= answer.status_code < 500


NAMES = [
    b'a.jpg"; name="priority', b"a\r\nX-Evil: 1.jpg", b"a\0b.jpg", b"../../etc/passwd", b"\xff\xfe.jpg", b"x" * 5000,
    b"%2e%2e%2f", b"<script>alert(1)</script>", "\u202egpj.exe".encode(), b"a\\..\\b.jpg", b"\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_filename_is_harmless(client: FlaskClient, name: bytes) -> None:
    answer = client.post("/v1/jobs", **form(part(b'name="image"; filename="' + name + b'"', pictures.jpeg())))
    assert answer.status_code in (202, 400, 413)
    assert "X-Evil" not in answer.headers
    if answer.status_code == 202:
        kept = answer.get_json()["input"]["filename"]
        assert len(kept.encode()) <= 255
        assert not re.search(r"[\x00-\x1f\x7f\u202e/\\]", kept)
    batch = client.post("/v1/batches", data=b"{}", content_type=JSON).get_json()
    answer = client.post(
        f"/v1/batches/{batch['id']}/jobs", **form(part(b'name="image"; filename="' + name + b'"', pictures.jpeg()))
    )
    assert answer.status_code in (202, 400, 413)


ENCODED = [
    b"a%0d%0aX-Evil:%201.jpg", b"..%2f..%2fetc%2fpasswd", b"%2fetc%2fpasswd", b"a%00b.jpg",
    b"%e2%80%aegpj.exe", b"a%5c..%5cb.jpg", b"%1b%5b31m", b"a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
def test_a_hostile_encoded_filename_is_harmless(client: FlaskClient, name: bytes) -> None:
    """RFC 5987 encoding: a decoded name can contain characters that no header can carry."""
    body = form(part(b"name=\"image\"; filename*=UTF-8''" + name, pictures.jpeg()))
    answer = client.post("/v1/jobs", **body)
    assert answer.status_code in (202, 400, 413)
    assert "X-Evil" not in answer.headers
    if answer.status_code == 202:
        assert not re.search(r"[\x00-\x1f\x7f\u202e/\\]", answer.get_json()["input"]["filename"])
    links = client.post("/v1/batches", data=b"{}", content_type=JSON).get_json()["links"]
    answer = client.post(links["jobs"], **body)
    assert answer.status_code in (202, 400, 413)
    if answer.status_code == 202:
        assert [item["outcome"] for item in answer.get_json()["items"]] == ["refused"]
    names = zipfile.ZipFile(io.BytesIO(client.get(links["archive"]).data)).namelist()
    assert names == ["manifest.json", "coco.json"]
