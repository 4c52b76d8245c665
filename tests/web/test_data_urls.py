"""POST /v1/jobs with JSON: the image as a data URL, with the options in the same document."""

import base64
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient

from storage.connection import Storage

PHOTO = pictures.jpeg()


def url(content: bytes = PHOTO, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_an_image_in_json_is_the_same_image(client: FlaskClient, connection: Storage) -> None:
    document = {
        "image": url(),
        "filename": "x/Kätzchen.jpg",
        "priority": "bulk",
        "deadline_s": 60,
        "tags": ["a", "b c"],
    }
    answer = client.post("/v1/jobs", json=document)
    assert answer.status_code == 202, answer.text
    job = answer.get_json()
    assert (job["input"]["filename"], job["priority"], job["tags"]) == ("Kätzchen.jpg", "bulk", ["a", "b c"])
    stored = connection.jobs.get(job["id"])
    assert stored
    assert connection.objects.get_upload(stored.spec) == PHOTO


def test_an_idempotency_key_makes_one_job_for_either_body_format(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/v1/jobs", json={"image": url()}, headers=headers).get_json()
    again = client.post("/v1/jobs", data=PHOTO, content_type="image/jpeg", headers=headers)
    assert (again.get_json()["id"], again.headers["Idempotency-Replayed"]) == (first["id"], "true")


def test_an_image_of_the_maximum_size(client: FlaskClient) -> None:
    most = 10 * 1024 * 1024
    padded = PHOTO + bytes(most - len(PHOTO))
    assert client.post("/v1/jobs", json={"image": url(padded)}).status_code == 202
    answer = client.post("/v1/jobs", json={"image": url(padded + b"\0")})
    assert (answer.status_code, answer.get_json()["code"]) == (413, "payload_too_large")
    assert f"{most + 1} bytes; at most {most}" in answer.get_json()["detail"]


REFUSED: dict[str, tuple[Any, str]] = {
    "a URL": ({"image": "https://example.org/cat.jpg"}, "the server fetches no URL"),
    "bare base64": ({"image": base64.b64encode(PHOTO).decode()}, "must begin with data:image/jpeg;base64,"),
    "not base64": ({"image": "data:image/png;base64,äöü"}, "not base64"),
    "no image": ({"filename": "a.jpg"}, "image: Field required"),
    "an unknown option": ({"image": url(), "colour": "red"}, "colour: "),
    "a number": ({"image": 1}, "image: "),
    "a list": ([url()], "Input should be"),
    "a tag with a comma": ({"image": url(), "tags": ["a,b"]}, "tags.0: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_name_the_wrong_part(client: FlaskClient, name: str) -> None:
    document, detail = REFUSED[name]
    answer = client.post("/v1/jobs", json=document)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert detail in answer.get_json()["detail"]


def test_options_outside_the_document_are_refused(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs?priority=bulk", json={"image": url()})
    assert (answer.status_code, "JSON document" in answer.get_json()["detail"]) == (400, True)


def test_the_content_decides_and_not_the_type(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", json={"image": url(kind="image/png")}).get_json()["input"]["format"] == "JPEG"
    assert client.post("/v1/jobs", json={"image": url(b"%PDF-1.7")}).status_code == 415
