"""/v1/batches: open, append, close, results, events, archive, cancel, retry."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pictures
import pytest
from flask.testing import FlaskClient
from forms import form
from PIL import Image
from pycocotools import mask as rle
from werkzeug.test import TestResponse

from storage.batches import CLOSED
from storage.connection import Storage
from worker.housekeeping.sweeps import adopt_after_loss, sweep

Work = Callable[[], None]
Images = list[tuple[str, bytes]]


def opened(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/batches", json={"name": "holidays", **fields})
    assert answer.status_code == 201
    assert answer.headers["Location"] == answer.get_json()["links"]["self"]
    return dict(answer.get_json())


def append(client: FlaskClient, batch: dict[str, Any], images: Images) -> TestResponse:
    return client.post(batch["links"]["jobs"], **form([("image", (name, data)) for name, data in images]))


def three() -> Images:
    contents = (pictures.jpeg(40, 30), pictures.truncated_jpeg(), pictures.jpeg(50, 20))
    return list(zip(("a/1.jpg", "b/1.jpg", "2.png"), contents, strict=True))


def now(client: FlaskClient, batch: dict[str, Any]) -> dict[str, Any]:
    return dict(client.get(batch["links"]["self"]).get_json())


def lines(client: FlaskClient, batch: dict[str, Any], after: int = 0) -> list[dict[str, Any]]:
    answer = client.get(f"{batch['links']['results']}?after={after}")
    assert answer.content_type == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_tags_of_a_batch_are_on_each_of_its_jobs(client: FlaskClient, connection: Storage) -> None:
    batch = opened(client, options={"tags": "holiday, 2026"})
    assert batch["tags"] == ["holiday", "2026"]
    [item, *_] = append(client, batch, three()).get_json()["items"]
    connection.jobs.client.flushall()
    adopt_after_loss(connection)
    assert now(client, batch)["tags"] == batch["tags"]
    assert client.get(f"/v1/jobs/{item['job_id']}").get_json()["tags"] == batch["tags"]


def test_from_open_to_partially_failed(client: FlaskClient, work: Work) -> None:
    batch = opened(client)
    assert (batch["object"], batch["name"], batch["status"], batch["priority"]) == ("batch", "holidays", "open", "bulk")
    items = append(client, batch, three()).get_json()["items"]
    assert [(item["custom_id"], item["outcome"]) for item in items] == [
        ("a/1.jpg", "accepted"), ("b/1.jpg", "accepted"), ("2.png", "accepted"),
    ]  # fmt: skip
    assert now(client, batch)["counts"] == {
        "total": 3, "queued": 3, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    closed = client.post(batch["links"]["close"])
    assert (closed.status_code, closed.get_json()["status"]) == (202, "running")
    assert int(client.get(batch["links"]["self"]).headers["Retry-After"]) >= 1
    work()
    ended = now(client, batch)
    assert (ended["status"], ended["eta_s"]) == ("partially_failed", 0)
    assert (ended["counts"]["succeeded"], ended["counts"]["failed"], ended["counts"]["queued"]) == (2, 1, 0)
    found = lines(client, batch)
    assert {line["custom_id"]: line["status"] for line in found} == {
        "a/1.jpg": "succeeded", "b/1.jpg": "failed", "2.png": "succeeded",
    }  # fmt: skip
    assert [line["cursor"] for line in found] == [1, 2, 3]
    assert lines(client, batch, after=2) == found[2:]
    job = client.get(found[0]["links"]["self"]).get_json()
    assert (job["batch_id"], job["custom_id"]) == (batch["id"], found[0]["custom_id"])


def test_appending_again_is_a_no_op_and_a_bad_image_is_refused_alone(client: FlaskClient, work: Work) -> None:
    batch = opened(client)
    first = append(client, batch, three()[:1]).get_json()["items"][0]
    hostile = [("a/1.jpg", three()[0][1]), ("x.jpg", b"text"), ("../y.jpg", pictures.jpeg()), ("z.jpg", b"")]
    items = append(client, batch, hostile).get_json()["items"]
    assert [item["outcome"] for item in items] == ["known", "refused", "refused", "refused"]
    assert items[0]["job_id"] == first["job_id"]
    codes = [item["error"]["code"] for item in items[1:]]
    assert codes == ["unsupported_media_type", "invalid_request", "unprocessable_image"]
    assert now(client, batch)["counts"]["total"] == 1


def test_items_run_in_the_order_of_submission(client: FlaskClient, connection: Storage) -> None:
    batch = opened(client)
    names = [f"{i}.jpg" for i in (3, 1, 2, 9, 4)]
    append(client, batch, [(name, pictures.jpeg(seed=i)) for i, name in enumerate(names)])
    assert [job.spec.custom_id for job in connection.jobs.claim("t", "d", "w")] == names


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"data": {}}, 400, "invalid_request"),
        ({"data": {"photo": (io.BytesIO(b"x"), "a.jpg")}}, 400, "invalid_request"),
        ({"data": {"image": [(io.BytesIO(b"x"), f"{i}.jpg") for i in range(101)]}}, 413, "payload_too_large"),
        ({"data": {"image": (io.BytesIO(b"\0" * 41_000_000), "a.jpg")}}, 413, "payload_too_large"),
    ],
)
def test_appends_that_are_refused(client: FlaskClient, arguments: dict[str, Any], status: int, code: str) -> None:
    answer = client.post(opened(client)["links"]["jobs"], **arguments)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"nam": "x"}', b'{"options": {"priority": "now"}}', b"[" * 9999])
def test_openings_that_are_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/v1/batches", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")


def test_a_closed_batch_accepts_no_more_images(client: FlaskClient) -> None:
    batch = opened(client)
    client.post(batch["links"]["close"])
    answer = append(client, batch, three())
    assert (answer.status_code, answer.get_json()["code"]) == (409, "batch_closed")
    assert now(client, batch)["status"] == "succeeded"  # the batch was empty


@pytest.mark.parametrize("action", ["", "/events", "/results", "/archive.zip"])
def test_unknown_batches(client: FlaskClient, action: str) -> None:
    for batch_id in ("bat_1", "nonsense", "bat_01a203b4d5037207a59836e62a304243"):
        assert client.get(f"/v1/batches/{batch_id}{action}").get_json()["code"] == "not_found"


def test_cancelling_ends_pending_items(client: FlaskClient, connection: Storage) -> None:
    batch = opened(client)
    append(client, batch, [(f"{i}.jpg", pictures.jpeg(seed=i)) for i in range(20)])
    assert client.post(batch["links"]["cancel"]).get_json()["counts"]["queued"] == 0
    sweep(connection)
    ended = now(client, batch)
    assert (ended["status"], ended["counts"]["canceled"]) == ("canceled", 20)
    assert {line["error"]["code"] for line in lines(client, batch)} == {"canceled"}


def test_retrying_the_failed(client: FlaskClient, connection: Storage, work: Work) -> None:
    batch = opened(client)
    append(client, batch, three())
    client.post(batch["links"]["close"])
    work()
    failed = [line for line in lines(client, batch) if line["status"] == "failed"]
    again = client.post(batch["links"]["retry"]).get_json()
    assert (again["status"], again["counts"]["queued"], again["counts"]["failed"]) == ("running", 1, 0)
    assert connection.objects.results("local", failed[0]["job_id"]) == []
    work()
    ended = now(client, batch)
    assert (ended["status"], ended["counts"]["failed"]) == ("partially_failed", 1)
    assert client.get(failed[0]["links"]["self"]).get_json()["attempt"] == 2
    assert [line["cursor"] for line in lines(client, batch, after=3)] == [4]


def test_a_cancelled_batch_can_be_retried(client: FlaskClient, connection: Storage, work: Work) -> None:
    batch = opened(client)
    append(client, batch, three()[:1])
    client.post(batch["links"]["cancel"])
    sweep(connection)
    client.post(batch["links"]["retry"])
    work()
    assert now(client, batch)["status"] == "succeeded"


def test_events_report_the_state_and_end_with_the_batch(client: FlaskClient, work: Work) -> None:
    batch = opened(client)
    append(client, batch, three()[:1])
    client.post(batch["links"]["close"])
    answer = client.get(batch["links"]["events"])
    chunks = iter(answer.response)
    first = next(chunks)
    assert b"event: batch.progress" in first
    assert b'"status": "running"' in first
    work()
    assert b'"status": "succeeded"' in b"".join(chunks)
    answer.close()


def test_an_idempotency_key_opens_one_batch(client: FlaskClient, connection: Storage) -> None:
    def open_it(key: str, **options: str) -> TestResponse:
        return client.post("/v1/batches", json=options, headers={"Idempotency-Key": key})

    first = open_it("k", name="a")
    again = open_it("k", name="a")
    assert first.get_json()["id"] == again.get_json()["id"] != open_it("other", name="a").get_json()["id"]
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert "Idempotency-Replayed" not in first.headers
    reused = open_it("k", name="b")
    assert (reused.status_code, reused.get_json()["code"]) == (422, "idempotency_key_reused")
    job = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", headers={"Idempotency-Key": "k"})
    assert job.status_code == 202  # a key is scoped to its method and path
    connection.jobs.client.flushall()
    assert open_it("k", name="a").status_code == 503
    adopt_after_loss(connection)
    assert open_it("k", name="a").get_json()["id"] == first.get_json()["id"]


def test_the_long_poll_of_a_batch(client: FlaskClient, work: Work) -> None:
    batch = opened(client)
    seen = client.get(batch["links"]["self"])
    same = client.get(batch["links"]["self"], headers={"If-None-Match": seen.headers["ETag"], "Prefer": "wait=1"})
    assert same.status_code == 304
    append(client, batch, three()[:1])
    other = client.get(batch["links"]["self"], headers={"If-None-Match": seen.headers["ETag"], "Prefer": "wait=9"})
    assert (other.status_code, other.get_json()["counts"]["total"]) == (200, 1)


def test_the_archive_has_masks_manifest_and_coco(client: FlaskClient, work: Work) -> None:
    batch = opened(client)
    append(client, batch, three())
    client.post(batch["links"]["close"])
    work()
    answer = client.get(batch["links"]["archive"])
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            "masks/a/1.jpg.png", "masks/2.png.png", "manifest.json", "coco.json",
        }  # fmt: skip
        manifest, coco = (json.loads(archive.read(name)) for name in ("manifest.json", "coco.json"))
        masks = {name: np.asarray(Image.open(archive.open(name))) for name in archive.namelist() if "masks/" in name}
    assert [item["custom_id"] for item in manifest["items"]] == [name for name, _ in three()]
    assert [item["status"] for item in manifest["items"]] == ["succeeded", "failed", "succeeded"]
    by_id = {image["id"]: image["file_name"] for image in coco["images"]}
    assert set(by_id.values()) == {"a/1.jpg", "2.png"}
    for annotation in coco["annotations"]:
        ids = masks[f"masks/{by_id[annotation['image_id']]}.png"]
        np.testing.assert_array_equal(rle.decode(annotation["segmentation"]), ids == annotation["category_id"] - 1)


def test_a_batch_survives_the_loss_of_redis(client: FlaskClient, empty_store: Storage, work: Work) -> None:
    done, left = opened(client, name="größe"), opened(client)
    append(client, done, three())
    client.post(done["links"]["close"])
    work()
    names = [f"{i}.jpg" for i in (5, 3, 4)]
    append(client, left, [(name, pictures.jpeg(seed=i)) for i, name in enumerate(names)])
    before, results = now(client, done), lines(client, done)
    empty_store.jobs.client.flushall()
    refused = client.get(done["links"]["self"])  # rather than wrong counts
    assert (refused.status_code, refused.get_json()["code"]) == (503, "unavailable")
    adopt_after_loss(empty_store)
    after = now(client, done)
    assert {**after, "rate_per_s": None} == {**before, "rate_per_s": None}
    assert sorted(line["custom_id"] for line in lines(client, done)) == sorted(line["custom_id"] for line in results)
    assert now(client, left)["counts"]["queued"] == 3
    assert [job.spec.custom_id for job in empty_store.jobs.claim("t", "d", "w")] == names


def test_the_housekeeper_rebuilds_batches(client: FlaskClient, empty_store: Storage, work: Work) -> None:
    batch = opened(client)
    append(client, batch, three())
    client.post(batch["links"]["close"])
    work()
    empty_store.jobs.client.flushall()
    adopt_after_loss(empty_store)
    fields = empty_store.jobs.client.hgetall(f"segue:batch:{batch['id']}")
    assert (json.loads(fields["spec"])["name"], fields[CLOSED]) == ("holidays", CLOSED)
    assert now(client, batch)["counts"]["total"] == 3


def test_a_batchs_name_is_shown_without_invisible_characters(client: FlaskClient) -> None:
    assert opened(client, name="a\u202eb\x00c \u732b")["name"] == "abc \u732b"
