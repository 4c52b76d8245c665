"""POST /v1/jobs/{id}/feedback: what is accepted, refused and stored."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pictures
import pytest
from flask.testing import FlaskClient
from forms import form
from PIL import Image, PngImagePlugin
from werkzeug.test import TestResponse

from model.labels import PETS
from storage.connection import Storage
from storage.feedback import CONSENT
from storage.objects import FEEDBACK

Work = Callable[[], None]
WIDTH, HEIGHT = 60, 40


@pytest.fixture
def job(client: FlaskClient, work: Work) -> dict[str, Any]:
    made = client.post("/v1/jobs", data=pictures.jpeg(WIDTH, HEIGHT), content_type="image/jpeg").get_json()
    work()
    return dict(client.get(made["links"]["self"]).get_json())


@pytest.fixture
def say(client: FlaskClient, job: dict[str, Any]) -> Callable[..., TestResponse]:
    path = f"{job['links']['self']}/feedback"
    return lambda **fields: client.post(path, **fields)


Say = Callable[..., TestResponse]


def png(mode: str = "L", size: tuple[int, int] = (WIDTH, HEIGHT), value: int = 1, **more: Any) -> io.BytesIO:
    image = Image.new(mode, size, value)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **more)
    return io.BytesIO(buffer.getvalue())


def stored_feedback(connection: Storage, job: dict[str, Any]) -> dict[str, bytes]:
    listed = connection.objects.listing(FEEDBACK, f"local/{job['id']}/")
    return {one.key: connection.objects.get(FEEDBACK, one.key) or b"" for one in listed}


@pytest.mark.parametrize("verdict", ["good", "bad"])
def test_a_verdict_is_stored(connection: Storage, job: dict[str, Any], say: Say, verdict: str) -> None:
    answer = say(json={"verdict": verdict, "note": "Größe 猫"})
    document = answer.get_json()
    assert answer.status_code == 201
    assert (document["verdict"], document["note"], document["job_id"], document["consent_training"]) == (
        verdict,
        "Größe 猫",
        job["id"],
        False,
    )
    [(key, content)] = stored_feedback(connection, job).items()
    stored = json.loads(content)
    assert key.endswith(f"{document['id']}.json")
    assert (stored["verdict"], stored["model"], stored["consent_wording"]) == (verdict, "pets/3", "")


def test_a_corrected_mask_is_stored_as_class_ids_and_nothing_else(
    connection: Storage, job: dict[str, Any], say: Say
) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "my home address")
    ids = np.random.default_rng(1).integers(0, 3, (HEIGHT, WIDTH), np.uint8)
    for mode in ("L", "P"):
        image = Image.fromarray(ids)
        if mode == "P":
            image = Image.frombytes("P", image.size, image.tobytes())
            image.putpalette([channel for label in PETS for channel in label.color])
        image.save(buffer := io.BytesIO(), "PNG", pnginfo=text)
        form = {"verdict": "corrected", "consent_training": "true", "mask": (io.BytesIO(buffer.getvalue()), "m.png")}
        answer = say(data=form)
        assert answer.status_code == 201, answer.text
        assert answer.get_json()["consent_wording"] == CONSENT
    masks = [content for key, content in stored_feedback(connection, job).items() if key.endswith(".png")]
    assert len(masks) == 2
    for content in masks:
        assert b"address" not in content
        with Image.open(io.BytesIO(content)) as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), ids)


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (lambda: png(size=(HEIGHT, WIDTH)), "unprocessable_image"),
        (lambda: png(size=(1, 1)), "unprocessable_image"),
        (lambda: png(value=3), "unprocessable_image"),
        (lambda: png(mode="P", value=255), "unprocessable_image"),
        (lambda: png(mode="RGB"), "unprocessable_image"),
        (lambda: png(mode="I;16"), "unprocessable_image"),
        (lambda: io.BytesIO(pictures.jpeg(WIDTH, HEIGHT)), "unprocessable_image"),
        (lambda: io.BytesIO(png().getvalue()[:60]), "unprocessable_image"),
        (lambda: io.BytesIO(b""), "unprocessable_image"),
        (lambda: io.BytesIO(b"not an image"), "unsupported_media_type"),
    ],
)
def test_an_image_that_is_not_a_mask_of_this_photo_is_refused(
    connection: Storage, job: dict[str, Any], say: Say, mask: Callable[[], io.BytesIO], code: str
) -> None:
    answer = say(**form([("mask", ("m.png", mask().getvalue()))], {"verdict": "corrected"}))
    assert answer.get_json()["code"] == code
    assert stored_feedback(connection, job) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"json": {}},
        {"json": {"verdict": "fine"}},
        {"json": {"verdict": "corrected"}},
        {"json": {"verdict": "good", "note": "x" * 2001}},
        {"json": {"verdict": "good", "more": 1}},
        {"data": b"{", "content_type": "application/json"},
        {"data": {"verdict": "good", "mask": (io.BytesIO(b"x"), "m.png")}},
        {"data": {"verdict": "corrected", "image": (io.BytesIO(b"x"), "m.png")}},
        {"data": {"verdict": ["corrected", "good"], "mask": (io.BytesIO(b"x"), "m.png")}},
    ],
)
def test_invalid_feedback_is_refused(
    connection: Storage, job: dict[str, Any], say: Say, fields: dict[str, Any]
) -> None:
    answer = say(**fields)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert stored_feedback(connection, job) == {}


def test_a_refusal_is_not_logged_as_an_error(say: Say, capfd: pytest.CaptureFixture[str]) -> None:
    assert say(data={"verdict": "corrected", "mask": (io.BytesIO(b"no mask"), "mask.png")}).status_code == 415
    assert "Traceback" not in capfd.readouterr().err


def test_feedback_needs_a_mask(client: FlaskClient) -> None:
    waiting = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()
    path = f"{waiting['links']['self']}/feedback"
    answer = client.post(path, json={"verdict": "good"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "job_not_finished")
    client.post(f"{waiting['links']['self']}/cancel")
    answer = client.post(path, json={"verdict": "good"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "already_terminal")
    unknown = client.post(f"/v1/jobs/job_{'0' * 12}7{'0' * 3}8{'0' * 15}/feedback", json={"verdict": "good"})
    assert unknown.status_code == 404


def test_feedback_is_erased_with_its_job(
    connection: Storage, client: FlaskClient, job: dict[str, Any], say: Say
) -> None:
    say(data={"verdict": "corrected", "mask": (png(), "m.png")})
    assert len(stored_feedback(connection, job)) == 2
    assert client.delete(job["links"]["self"]).status_code == 204
    assert stored_feedback(connection, job) == {}
    assert say(json={"verdict": "good"}).status_code == 410
