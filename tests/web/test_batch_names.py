"""A custom_id belongs to the first image sent with it, even with concurrent requests."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient

from storage import keys
from storage.batch import BatchSpec
from storage.connection import Storage
from storage.job import Spec
from storage.keys import Lane
from storage.objects import MinioObjects
from storage.problems import Unavailable
from storage.queue.binding import Binding
from web.app import create_app
from worker.housekeeping.sweeps import adopt_after_loss

FIRST, OTHER = pictures.jpeg(40, 30), pictures.jpeg(50, 20, seed=1)
Items = list[dict[str, Any]]


@pytest.fixture
def batch(client: FlaskClient) -> dict[str, Any]:
    return dict(client.post("/v1/batches", json={}).get_json())


def append(client: FlaskClient, batch: dict[str, Any], *images: tuple[str, bytes]) -> Items:
    sent = {"image": [(io.BytesIO(content), name) for name, content in images]}
    answer = client.post(batch["links"]["jobs"], data=sent)
    assert answer.status_code == 202, answer.text
    return list(answer.get_json()["items"])


def check_whole(storage: Storage, job_id: str) -> None:
    """Check that the job hash, the upload's metadata and the upload's bytes match."""
    job = storage.jobs.get(job_id)
    assert job
    stored = storage.objects.spec("local", job_id)
    assert stored
    assert stored.sha256 == job.spec.sha256
    assert storage.objects.get_upload(job.spec) == {len(FIRST): FIRST, len(OTHER): OTHER}[job.spec.bytes]


def test_two_images_of_one_name_in_one_append(client: FlaskClient, connection: Storage, batch: dict[str, Any]) -> None:
    outcomes = append(client, batch, ("cat.jpg", FIRST), ("cat.jpg", OTHER), ("dog.jpg", OTHER))
    [taken, refused] = sorted(outcomes[:2], key=lambda item: str(item["outcome"]))
    assert (taken["outcome"], refused["outcome"], outcomes[2]["outcome"]) == ("accepted", "refused", "accepted")
    assert (refused["job_id"], refused["error"]["code"]) == (None, "custom_id_reused")
    assert '"cat.jpg"' in refused["error"]["detail"]
    check_whole(connection, taken["job_id"])
    assert client.get(batch["links"]["self"]).get_json()["counts"]["total"] == 2


def test_one_image_twice_in_one_append(client: FlaskClient, connection: Storage, batch: dict[str, Any]) -> None:
    outcomes = append(client, batch, ("cat.jpg", FIRST), ("cat.jpg", FIRST))
    assert sorted(item["outcome"] for item in outcomes) == ["accepted", "known"]
    assert len({item["job_id"] for item in outcomes}) == 1
    check_whole(connection, outcomes[0]["job_id"])
    assert client.get(batch["links"]["self"]).get_json()["counts"]["total"] == 1


def test_another_image_later(client: FlaskClient, connection: Storage, batch: dict[str, Any]) -> None:
    [first] = append(client, batch, ("cat.jpg", FIRST))
    [again], [other] = append(client, batch, ("cat.jpg", FIRST)), append(client, batch, ("cat.jpg", OTHER))
    assert (again["outcome"], again["job_id"]) == ("known", first["job_id"])
    assert (other["outcome"], other["error"]["code"]) == ("refused", "custom_id_reused")
    check_whole(connection, first["job_id"])


def test_two_appends_at_the_same_moment(
    app: Flask, connection: Storage, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each append looks the name up before the other has stored its image."""
    put_upload, both = MinioObjects.put_upload, threading.Barrier(2)

    def together(self: MinioObjects, spec: Spec, content: bytes) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(2)  # times out if the other append is refused before it stores
        put_upload(self, spec, content)

    monkeypatch.setattr(MinioObjects, "put_upload", together)
    with ThreadPoolExecutor(2) as pool:
        sent = pool.map(lambda content: append(app.test_client(), batch, ("cat.jpg", content)), (FIRST, OTHER))
        [one], [two] = sent
    assert sorted((one["outcome"], two["outcome"])) == ["accepted", "refused"]
    check_whole(connection, one["job_id"] or two["job_id"])


def test_a_request_that_fails_while_storing_can_be_repeated(
    client: FlaskClient, connection: Storage, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: MinioObjects, spec: Spec, content: bytes) -> None:
        raise Unavailable("object store: down")

    with monkeypatch.context() as broken:
        broken.setattr(MinioObjects, "put_upload", down)
        refused = client.post(batch["links"]["jobs"], data={"image": (io.BytesIO(FIRST), "cat.jpg")})
        assert refused.status_code == 503
    assert append(client, batch, ("cat.jpg", OTHER))[0]["outcome"] == "refused"
    [again] = append(client, batch, ("cat.jpg", FIRST))
    assert again["outcome"] == "known"
    check_whole(connection, again["job_id"])
    assert not connection.jobs.client.exists(f"segue:bound:{again['job_id']}"), "the job hash replaces the binding"


def test_a_name_survives_the_loss_of_redis(empty_store: Storage) -> None:
    client = create_app(empty_store.settings).test_client()
    batch = dict(client.post("/v1/batches", json={}).get_json())
    [first] = append(client, batch, ("cat.jpg", FIRST))
    empty_store.jobs.client.flushall()
    job = empty_store.objects.spec("local", first["job_id"])
    assert job
    assert empty_store.jobs.bind(job) is Binding.RECOVERING
    adopt_after_loss(empty_store)
    [again], [other] = append(client, batch, ("cat.jpg", FIRST)), append(client, batch, ("cat.jpg", OTHER))
    assert (again["outcome"], other["outcome"]) == ("known", "refused")
    check_whole(empty_store, first["job_id"])


def test_the_name_of_an_erased_item_can_be_reused(
    client: FlaskClient, connection: Storage, batch: dict[str, Any]
) -> None:
    [first] = append(client, batch, ("cat.jpg", FIRST))
    assert client.delete(f"/v1/jobs/{first['job_id']}").status_code == 204
    [other] = append(client, batch, ("cat.jpg", OTHER))
    assert other["outcome"] == "accepted"
    check_whole(connection, other["job_id"])


def test_only_one_of_many_bindings_is_new(connection: Storage) -> None:
    from specs import spec

    opened = BatchSpec(keys.new_batch_id(), "local", "", Lane.BULK, "stable", 60, 0)
    job_id = keys.batch_job_id(opened.id, "cat.jpg")
    images = [spec(bytes([number]), id=job_id, batch_id=opened.id) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(connection.jobs.bind, images))
    assert sorted(answers) == [Binding.NEW, *[Binding.OTHER] * 15]
    assert connection.jobs.bind(images[answers.index(Binding.NEW)]) is Binding.REPEATED
