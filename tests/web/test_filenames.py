"""File names in multipart headers, as browsers, curl and HTTP libraries write them."""

import io
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient
from werkzeug.http import parse_options_header

from web.filenames import content_disposition

PHOTO = pictures.jpeg()


def form(disposition: bytes) -> dict[str, Any]:
    head = b"--frontier\r\nContent-Disposition: form-data; " + disposition + b"\r\nContent-Type: image/jpeg\r\n\r\n"
    body = head + PHOTO + b"\r\n--frontier--\r\n"
    return {"data": body, "content_type": "multipart/form-data; boundary=frontier"}


SENT: dict[str, tuple[bytes, str]] = {
    "plain": (b'name="image"; filename="cat.jpg"', "cat.jpg"),
    "without quotes": (b"name=image; filename=cat.jpg", "cat.jpg"),
    "UTF-8": ('name="image"; filename="Kätzchen.jpg"'.encode(), "Kätzchen.jpg"),
    "extended": (b"name=\"image\"; filename*=UTF-8''K%C3%A4tzchen.jpg", "Kätzchen.jpg"),
    "extended in small letters": (b"name=\"image\"; filename*=utf-8''K%C3%A4tzchen.jpg", "Kätzchen.jpg"),
    "both": (b'name="image"; filename="K_.jpg"; filename*=UTF-8\'\'K%C3%A4tzchen.jpg', "Kätzchen.jpg"),
    "a quote as browsers and curl write it": (b'name="image"; filename="a%22b.jpg"', 'a"b.jpg'),
    "a quote as older curl writes it": (b'name="image"; filename="a\\"b.jpg"', 'a"b.jpg'),
    "a backslash as older curl writes it": (b'name="image"; filename="x\\\\a.jpg"', "a.jpg"),
    "an escaped quote behind an escape": (b'name="image"; filename="a%22\\"%22.jpg"', 'a""".jpg'),
    "a semicolon": (b'name="image"; filename="a;b.jpg"', "a;b.jpg"),
    "a path of Windows": (b'name="image"; filename="C:\\Users\\me\\cat.jpg"', "cat.jpg"),
    "a line feed as browsers write it": (b'name="image"; filename="a%0Ab.jpg"', "ab.jpg"),
    "a carriage return": (b'name="image"; filename="a%0D%0Ab.jpg"', "ab.jpg"),
    "a percent sign": (b'name="image"; filename="100%25.jpg"', "100%25.jpg"),
    "an escaped percent sign": (b'name="image"; filename="a%250Ab.jpg"', "a%250Ab.jpg"),
    "a percent sign in an extended name": (b"name=\"image\"; filename*=UTF-8''a%250Ab.jpg", "a%0Ab.jpg"),
    "a family": ('name="image"; filename="👨\u200d👩\u200d👧.jpg"'.encode(), "👨\u200d👩\u200d👧.jpg"),
    "an emoji newer than this Python": ('name="image"; filename="\U0001fae8.jpg"'.encode(), "\U0001fae8.jpg"),
    "private use": ('name="image"; filename="\uf8ff.jpg"'.encode(), "\uf8ff.jpg"),
    "decomposed": ('name="image"; filename="e\u0301.jpg"'.encode(), "e\u0301.jpg"),
}


@pytest.mark.parametrize("name", SENT)
def test_a_name_is_decoded(client: FlaskClient, name: str) -> None:
    disposition, shown = SENT[name]
    answer = client.post("/v1/jobs", **form(disposition))
    assert answer.status_code == 202, answer.text
    assert answer.get_json()["input"]["filename"] == shown


@pytest.mark.parametrize("name", ["🏳\ufe0f\u200d🌈/\U0001fae8.jpg", "می\u200cخواهم.jpg", "e\u0301.jpg"])
def test_an_item_keeps_its_name(client: FlaskClient, name: str) -> None:
    links = client.post("/v1/batches", json={}).get_json()["links"]
    answer = client.post(links["jobs"], data={"image": (io.BytesIO(PHOTO), name)})
    [item] = answer.get_json()["items"]
    assert (item["outcome"], item["custom_id"]) == ("accepted", name)


REFUSED = {
    b'filename="a%0Ab.jpg"': "control or bidirectional characters",
    b'filename="../a.jpg"': "relative path",
    b'filename="' + b"x" * 300 + b'"': "has 300 bytes",
    b'filename=""': "has 0 bytes",
}


@pytest.mark.parametrize("disposition", REFUSED)
def test_a_refused_item_says_why(client: FlaskClient, disposition: bytes) -> None:
    links = client.post("/v1/batches", json={}).get_json()["links"]
    [item] = client.post(links["jobs"], **form(b'name="image"; ' + disposition)).get_json()["items"]
    assert (item["outcome"], item["error"]["code"]) == ("refused", "invalid_request")
    assert REFUSED[disposition] in item["error"]["detail"]


def test_an_append_without_a_file_name_says_so(client: FlaskClient) -> None:
    links = client.post("/v1/batches", json={}).get_json()["links"]
    assert "has no file name" in client.post(links["jobs"], **form(b'name="image"')).get_json()["detail"]


@pytest.mark.parametrize("name", ["cat.jpg", "ä.jpg", 'a"b%22\\.jpg', "x/y z.jpg", "\U0001fae8", "é" * 127, "a\r\nb"])
def test_the_name_of_a_download(name: str) -> None:
    header = content_disposition("attachment", name, "png")
    assert header.isascii()
    assert header.isprintable()
    kind, options = parse_options_header(header)
    assert kind == "attachment"
    shown = "".join(c for c in name if c not in "\r\n").rpartition("/")[2]
    assert shown.startswith(options["filename"].removesuffix(".png"))
    assert len(options["filename"].encode()) <= 255
    assert options["filename"].endswith(".png")


def test_a_file_name_in_another_encoding_is_refused_with_the_reason(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", **form('name="image"; filename="Kätzchen.jpg"'.encode("latin-1")))
    assert answer.status_code == 400
    assert "not UTF-8" in answer.get_json()["detail"]
