"""Turns at large photos, in greenlets of one thread as in the server."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager

import gevent
import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient
from gevent.event import Event
from services import SHIPPED_MODEL

from storage.connection import Storage
from web import upload_turns
from web.upload_turns import LARGE_BYTES, UploadTurns

PATIENCE_S = 30


class Uploads:
    """Photos that are stored until the test lets them end. `begun` lists them in the order of their turns."""

    def __init__(self) -> None:
        self.turns, self.begun = UploadTurns(), list[str]()
        self._stored: dict[str, Event] = {}
        self._greenlets: dict[str, gevent.Greenlet] = {}

    def send(self, name: str, party: str, size: int = LARGE_BYTES) -> None:
        self._stored[name] = Event()
        self._greenlets[name] = gevent.spawn(self._store, name, party, size)
        gevent.idle()

    def _store(self, name: str, party: str, size: int) -> None:
        with self.turns.turn(party, size):
            self.begun.append(name)
            self._stored[name].wait()

    def finish(self, name: str) -> None:
        self._stored[name].set()
        self._greenlets[name].join(PATIENCE_S)
        gevent.idle()

    def wait_for(self, count: int) -> None:
        with gevent.Timeout(PATIENCE_S):
            while len(self.begun) < count:
                gevent.sleep(0.001)

    def kill(self, name: str) -> None:
        self._greenlets[name].kill()
        gevent.idle()

    def end(self) -> None:
        gevent.killall(list(self._greenlets.values()))


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    monkeypatch.setattr(upload_turns, "LONGEST_S", PATIENCE_S)
    made = Uploads()
    yield made
    made.end()


def test_a_party_stores_one_large_photo_at_a_time_in_order(uploads: Uploads) -> None:
    for name in ("first", "second", "third"):
        uploads.send(name, "cats")
    assert uploads.begun == ["first"]
    uploads.finish("first")
    assert uploads.begun == ["first", "second"]
    uploads.finish("second")
    assert uploads.begun == ["first", "second", "third"]


def test_another_party_and_a_small_photo_do_not_wait(uploads: Uploads) -> None:
    uploads.send("first", "cats")
    uploads.send("another party's", "dogs")
    uploads.send("small", "cats", LARGE_BYTES - 1)
    assert uploads.begun == ["first", "another party's", "small"]


def test_a_slow_object_store_does_not_hold_up_the_next_photo(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_turns, "LONGEST_S", 0.01)
    for name in ("first", "second", "third"):
        uploads.send(name, "cats")
    uploads.wait_for(3)
    assert uploads.begun == ["first", "second", "third"]


def test_a_turn_that_was_passed_on_is_not_passed_on_again(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the end of the slow photo would admit a second one at once."""
    monkeypatch.setattr(upload_turns, "LONGEST_S", 0.01)
    uploads.send("slow", "cats")
    gevent.sleep(0.05)
    monkeypatch.setattr(upload_turns, "LONGEST_S", PATIENCE_S)
    uploads.send("second", "cats")
    uploads.send("third", "cats")
    uploads.finish("slow")
    assert uploads.begun == ["slow", "second"]


def test_a_photo_that_fails_gives_its_turn_back(uploads: Uploads) -> None:
    uploads.send("first", "cats")
    uploads.send("second", "cats")
    uploads.kill("first")
    assert uploads.begun == ["first", "second"]


def test_a_photo_that_fails_while_it_waits_takes_no_turn(uploads: Uploads) -> None:
    for name in ("first", "second", "third"):
        uploads.send(name, "cats")
    uploads.kill("second")
    uploads.finish("first")
    assert uploads.begun == ["first", "third"]


class Noted(UploadTurns):
    """Turns that note who asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    def turn(self, party: str, size: int) -> AbstractContextManager[None]:
        self.asked.append((party, size))
        return super().turn(party, size)


def test_an_upload_and_a_batchs_image_wait_for_their_partys_turn(
    app: Flask, client: FlaskClient, connection: Storage
) -> None:
    connection.models.publish(SHIPPED_MODEL)
    noted = app.extensions["upload_turns"] = Noted()
    photo = pictures.jpeg()
    created = client.post("/v1/jobs", data=photo, content_type="image/jpeg")
    batch = client.post("/v1/batches", json={}).get_json()["id"]
    appended = client.post(f"/v1/batches/{batch}/jobs", data={"image": (io.BytesIO(photo), "cat.jpg")})
    assert (created.status_code, appended.status_code) == (202, 202)
    assert noted.asked == [(connection.jobs.get(created.get_json()["id"]).spec.tenant, len(photo))] * 2
