"""Provokes each problem code: in an HTTP response, or in a job's or an item's `error`.

A code without a case in this module fails.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import learned
import pictures
import pytest
from callers import bearer, guarded, new_key
from described import held_to_description
from flask import Flask
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from versions import version_folder
from werkzeug.test import TestResponse

from storage import keys, object_keys
from storage.connection import Storage
from storage.keys import Lane
from storage.objects import MODELS, RESULTS, UPLOADS
from storage.problems import KINDS, Problem
from storage.records.api_key import Scope
from storage.rollouts import rollouts
from web.app import create_app
from web.http.shares import Shares
from web.rendering import vectors
from worker.engines import Engines
from worker.housekeeping.sweeps import sweep
from worker.pipeline.pipeline import Pipeline

OLD = "pets/9"
KEY = {"Idempotency-Key": "same"}


@dataclass
class Scene:
    """An app over its own storage, and requests to it."""

    app: Flask
    storage: Storage
    monkeypatch: pytest.MonkeyPatch

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def submit(self, content: bytes | None = None, client: FlaskClient | None = None, **how: Any) -> TestResponse:
        photo = pictures.jpeg() if content is None else content
        return (client or self.client).post("/v1/jobs", data=photo, content_type="image/jpeg", **how)

    def path(self, **how: Any) -> str:
        """Submit a job. Returns its path; the job is pending."""
        return str(self.submit(**how).headers["Location"])

    def work(self) -> None:
        engines = Engines(self.storage)
        Pipeline(self.storage, engines, "worker").run("drainer")

    def finished(self) -> str:
        """Return the path of a job that has its mask."""
        path = self.path()
        self.work()
        return path

    def batch(self) -> dict[str, str]:
        links: dict[str, str] = self.client.post("/v1/batches", json={}).get_json()["links"]
        return links

    def guarded(self, **changes: Any) -> FlaskClient:
        return held_to_description(guarded(self.storage, **changes)).test_client()


@pytest.fixture
def scene(own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    own_store.models.publish(SHIPPED_MODEL)
    own_store.models.publish(version_folder(tmp_path, OLD.partition("/")[2]))
    return Scene(held_to_description(create_app(own_store.settings)), own_store, monkeypatch)


def forbidden(scene: Scene) -> TestResponse:
    client, key = scene.guarded(), bearer(new_key(scene.storage, scopes=(Scope.READ,)))
    return scene.submit(client=client, headers=key)


def already_terminal(scene: Scene) -> TestResponse:
    path = scene.path()
    scene.client.post(f"{path}/cancel")
    return scene.client.get(f"{path}/mask")


def idempotency_in_progress(scene: Scene) -> TestResponse:
    """The second request arrives while the photo of the first is being stored."""
    objects, second = scene.app.extensions["storage"].objects, list[TestResponse]()
    put_upload = objects.put_upload

    def meanwhile(*args: Any) -> None:
        second.append(scene.submit(headers=KEY))
        put_upload(*args)

    scene.monkeypatch.setattr(objects, "put_upload", meanwhile)
    assert scene.submit(headers=KEY).status_code == 202
    return second[0]


def batch_closed(scene: Scene) -> TestResponse:
    links = scene.batch()
    scene.client.post(links["close"])
    return scene.client.post(links["jobs"])


def gone(scene: Scene) -> TestResponse:
    path = scene.path()
    scene.client.delete(path)
    return scene.client.get(path)


def idempotency_key_reused(scene: Scene) -> TestResponse:
    scene.submit(headers=KEY)
    return scene.submit(pictures.jpeg(seed=1), headers=KEY)


def rate_limited(scene: Scene) -> TestResponse:
    client, key = scene.guarded(limit_key="1/hour"), bearer(new_key(scene.storage))
    scene.submit(client=client, headers=key)
    return scene.submit(client=client, headers=key)


def request_timeout(scene: Scene) -> TestResponse:
    """Raised as by a connection with a late body; tests/web/test_gate.py has slow clients."""

    class Late(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise Problem("request_timeout", "late")

    return scene.client.post("/v1/jobs", input_stream=Late(), content_length=9, content_type="image/jpeg")


def too_many_at_once(scene: Scene) -> TestResponse:
    scene.app.extensions["gate"].bodies = Shares(0)
    return scene.submit()


def queue_full(scene: Scene) -> TestResponse:
    pace = {"ms_per_image": 1000, "micro_batch": 16}
    scene.storage.jobs.client.hset(keys.RATE, mapping=pace)
    short = held_to_description(create_app(scene.storage.settings.replace(max_backlog_s=0.5))).test_client()
    return scene.submit(client=short)


def not_accepting(scene: Scene) -> TestResponse:
    scene.storage.pausing.refuse("We move to new disks.")
    return scene.submit()


def quota_exceeded(scene: Scene) -> TestResponse:
    client = scene.guarded(quota_jobs=1)
    key = bearer(new_key(scene.storage))
    assert scene.submit(client=client, headers=key).status_code == 202
    return scene.submit(client=client, headers=key)


def not_acceptable(scene: Scene) -> TestResponse:
    return scene.client.get(f"{scene.finished()}/mask", headers={"Accept": "image/tiff"})


def gate_not_passed(scene: Scene) -> TestResponse:
    with TemporaryDirectory() as folder:
        version = learned.candidate(scene.storage, Path(folder), "12")
    return scene.client.post(f"/v1/training/candidates/{version}/promote")


def rollout(scene: Scene) -> str:
    """Begin a rollout. Returns its path."""
    with TemporaryDirectory() as folder:
        version = learned.candidate(scene.storage, Path(folder), "12")
    made = scene.client.post("/v1/rollouts", json={"version": version})
    assert made.status_code == 201, made.text
    return f"/v1/rollouts/{made.get_json()['id']}"


def rollout_open(scene: Scene) -> TestResponse:
    rollout(scene)
    return scene.client.post("/v1/rollouts", json={"version": "pets/12"})


def version_condemned(scene: Scene) -> TestResponse:
    rollout(scene)
    scene.storage.rollouts.change(lambda found: found.rolled_back("It failed.", 1))
    return scene.client.post("/v1/rollouts", json={"version": "pets/12"})


def no_rollout(scene: Scene) -> TestResponse:
    """Another process has ended it since the web server has read it."""
    scene.monkeypatch.setattr(rollouts, "FRESH_S", 60)
    path = rollout(scene)
    scene.storage.rollouts.change(lambda found: found.aborted("", 1))
    return scene.client.post(f"{path}/pause", json={})


def no_confidence(scene: Scene) -> TestResponse:
    """A mask without stored confidence."""
    path = scene.finished()
    job = scene.storage.jobs.get(path.rpartition("/")[2])
    assert job
    scene.storage.objects.put(RESULTS, job.result_key, pictures.mask_png({}), "image/png")
    return scene.client.get(f"{path}/mask?format=confidence")


def no_guarantee(scene: Scene) -> TestResponse:
    """A class that has no thresholds."""
    return scene.client.get(f"{scene.finished()}/mask?format=inner&classes=background")


def mask_too_detailed(scene: Scene) -> TestResponse:
    scene.monkeypatch.setattr(vectors, "MOST_CORNERS", 3)
    return scene.client.get(f"{scene.finished()}/mask?format=geojson")


def internal(scene: Scene) -> TestResponse:
    def broken() -> None:
        raise RuntimeError("something inside")

    scene.monkeypatch.setattr(scene.app.extensions["storage"].jobs, "queue", broken)
    return scene.client.get("/v1/queue")


def unavailable(scene: Scene) -> TestResponse:
    nowhere = scene.storage.settings.replace(redis_url="redis://127.0.0.1:1/0")
    return held_to_description(create_app(nowhere)).test_client().get("/v1/queue")


ANSWERS: dict[str, Callable[[Scene], TestResponse]] = {
    "invalid_request": lambda scene: scene.submit(query_string={"priority": "now"}),
    "unauthorized": lambda scene: scene.guarded().get("/v1/queue"),
    "forbidden": forbidden,
    "not_found": lambda scene: scene.client.get("/v1/jobs/job_x"),
    "method_not_allowed": lambda scene: scene.client.patch("/v1/jobs"),
    "job_not_finished": lambda scene: scene.client.get(f"{scene.path()}/mask"),
    "already_terminal": already_terminal,
    "not_retryable": lambda scene: scene.client.post(f"{scene.finished()}/retry"),
    "idempotency_in_progress": idempotency_in_progress,
    "batch_closed": batch_closed,
    "no_consent": lambda scene: scene.client.get(f"/v1/training/inbox/{scene.finished().rpartition('/')[2]}"),
    "gate_not_passed": gate_not_passed,
    "unknown_dataset": lambda scene: scene.client.post(
        "/v1/training/runs", json={"kind": "build", "parameters": {"dataset": "dogs"}}
    ),
    "rollout_open": rollout_open,
    "no_rollout": no_rollout,
    "version_condemned": version_condemned,
    "nothing_to_roll_back": lambda scene: scene.client.post("/v1/models/rollback", json={}),
    "gone": gone,
    "payload_too_large": lambda scene: scene.submit(b"\xff\xd8\xff" + bytes(11_000_000)),
    "unsupported_media_type": lambda scene: scene.submit(b"%PDF-1.7"),
    "unprocessable_image": lambda scene: scene.submit(b""),
    "unknown_model": lambda scene: scene.submit(query_string={"model": "pets/0"}),
    "idempotency_key_reused": idempotency_key_reused,
    "rate_limited": rate_limited,
    "queue_full": queue_full,
    "not_accepting": not_accepting,
    "quota_exceeded": quota_exceeded,
    "request_timeout": request_timeout,
    "too_many_at_once": too_many_at_once,
    "not_acceptable": not_acceptable,
    "no_confidence": no_confidence,
    "no_guarantee": no_guarantee,
    "mask_too_detailed": mask_too_detailed,
    "internal": internal,
    "unavailable": unavailable,
}


def without_its_model(scene: Scene) -> str:
    path = scene.path(query_string={"model": OLD})
    for listed in list(scene.storage.objects.listing(MODELS, f"{OLD}/")):
        scene.storage.objects.remove(MODELS, listed.key)
    scene.work()
    return path


def without_its_photo(scene: Scene) -> str:
    path = scene.path()
    scene.storage.objects.remove(UPLOADS, object_keys.upload("local", path.rpartition("/")[2]))
    scene.work()
    return path


def lost_three_times(scene: Scene) -> str:
    """As after the third crash of a worker that processed only this image."""
    path = scene.path()
    job_id, redis = path.rpartition("/")[2], scene.storage.jobs.client
    scene.storage.jobs.claim("token", "drainer", "worker")
    redis.hset(keys.job(job_id), "losses_isolated", "3")
    redis.zadd(keys.leases(Lane.INTERACTIVE), {job_id: 1})
    sweep(scene.storage)
    return path


def damaged(scene: Scene) -> str:
    path = scene.path(content=pictures.truncated_jpeg())
    scene.work()
    return path


def canceled(scene: Scene) -> str:
    path = scene.path()
    scene.client.post(f"{path}/cancel")
    return path


def overdue(scene: Scene) -> str:
    path = scene.path(query_string={"deadline_s": 1})
    time.sleep(1.1)
    sweep(scene.storage)
    return path


# Each returns the path of the job.
JOBS: dict[str, Callable[[Scene], str]] = {
    "image_decode_failed": damaged,
    "model_unavailable": without_its_model,
    "storage_error": without_its_photo,
    "poisoned": lost_three_times,
    "canceled": canceled,
    "expired": overdue,
}


def another_image_of_its_name(scene: Scene) -> dict[str, Any]:
    images = [(io.BytesIO(pictures.jpeg(seed=seed)), "cat.jpg") for seed in range(2)]
    items = scene.client.post(scene.batch()["jobs"], data={"image": images}).get_json()["items"]
    [refused] = [dict(item["error"]) for item in items if item["error"]]
    return refused


# Each returns the problem of an item that an append refuses.
ITEMS: dict[str, Callable[[Scene], dict[str, Any]]] = {"custom_id_reused": another_image_of_its_name}


def test_every_code_has_a_case() -> None:
    assert {*ANSWERS, *JOBS, *ITEMS} == set(KINDS)


def as_its_kind_says(problem: dict[str, Any], code: str) -> None:
    kind = KINDS[code]
    assert problem["code"] == code
    assert problem["type"] == f"urn:segue:problem:{code}"
    assert (problem["status"], problem["title"], problem["retryable"]) == (kind.status, kind.title, kind.retryable)
    assert problem["detail"]


@pytest.mark.parametrize("code", ANSWERS)
def test_an_answer_with_it(scene: Scene, code: str) -> None:
    answer = ANSWERS[code](scene)
    problem = answer.get_json()
    as_its_kind_says(problem, code)
    assert (answer.status_code, answer.content_type) == (KINDS[code].status, "application/problem+json")
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["instance"] == answer.request.path
    assert str(problem.get("retry_after_s", "")) == answer.headers.get("Retry-After", "")


@pytest.mark.parametrize("code", JOBS)
def test_a_job_with_it(scene: Scene, code: str) -> None:
    path = JOBS[code](scene)
    job = scene.client.get(path).get_json()
    assert job["status"] in ("failed", "canceled", "expired")
    as_its_kind_says(job["error"], code)
    assert job["error"]["instance"] == path


@pytest.mark.parametrize("code", ITEMS)
def test_an_item_with_it(scene: Scene, code: str) -> None:
    as_its_kind_says(ITEMS[code](scene), code)
