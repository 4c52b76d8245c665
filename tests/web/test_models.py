"""/v1/models: versions and aliases; and jobs that select a version."""

import io
from collections.abc import Callable
from pathlib import Path

import pictures
import pytest
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from versions import version_folder
from werkzeug.test import TestResponse

from model.card import Card
from storage.connection import Storage
from storage.models import Alias
from storage.offer import EnginesReport
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

SHIPPED = f"pets/{Card.load(SHIPPED_MODEL).version}"


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    """Storage with the shipped version as `stable`, and pets/9 without an alias."""
    own_store.models.publish(SHIPPED_MODEL)
    own_store.models.publish(version_folder(tmp_path, "9"))
    return own_store


@pytest.fixture
def client(storage: Storage) -> FlaskClient:
    return create_app(storage.settings).test_client()


@pytest.fixture
def work(storage: Storage) -> Callable[[], None]:
    pipeline = Pipeline(storage, Engines(storage), "worker")
    return lambda: pipeline.run("drainer")


def post(client: FlaskClient, **options: str) -> TestResponse:
    return client.post("/v1/jobs", query_string=options, data=pictures.jpeg(), headers={"Content-Type": "image/jpeg"})


def problem(answer: TestResponse, status: int, code: str) -> dict[str, object]:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    document: dict[str, object] = answer.get_json()
    assert document["code"] == code
    return document


def test_versions_are_listed_with_metrics_aliases_and_workers(client: FlaskClient, storage: Storage) -> None:
    storage.jobs.workers.beat("a", 60_000)
    storage.jobs.workers.beat("b", 60_000)
    storage.jobs.workers.report("a", EnginesReport([SHIPPED], {"pets/9": "model pets/9: it is broken"}), ["pets/9"], [])
    storage.jobs.workers.report("b", EnginesReport([SHIPPED, "pets/9"], {}), [], [])
    storage.jobs.workers.report("dead", EnginesReport(["pets/9"], {}), [], [])
    answer = client.get("/v1/models").get_json()
    listed = {entry["id"]: entry for entry in answer["data"]}
    assert set(listed) == {SHIPPED, "pets/9"}
    assert (listed[SHIPPED]["aliases"], listed[SHIPPED]["workers"]) == (["stable"], 2)
    assert (listed["pets/9"]["aliases"], listed["pets/9"]["workers"]) == ([], 1)
    assert listed["pets/9"]["refused"] == [{"worker": "a", "reason": "model pets/9: it is broken"}]
    assert listed[SHIPPED]["metrics"] == Card.load(SHIPPED_MODEL).metrics
    assert [label["name"] for label in listed[SHIPPED]["labels"]] == ["pet", "background", "border"]
    assert [entry["version"] for entry in answer["aliases"]["stable"]] == [SHIPPED]


def test_promote_and_rollback(client: FlaskClient, work: Callable[[], None]) -> None:
    answer = client.put("/v1/models/aliases/stable", json={"version": "pets/9"})
    assert answer.get_json()["aliases"]["stable"][0]["version"] == "pets/9"
    job = post(client).get_json()
    work()
    assert client.get(job["links"]["self"]).get_json()["model"] == {"name": "pets", "version": "9"}
    answer = client.post("/v1/models/rollback", json={})
    [entry] = answer.get_json()["aliases"]["stable"]
    assert (entry["version"], entry["rolled_back"]) == (SHIPPED, "pets/9")
    problem(client.post("/v1/models/rollback", json={"alias": "stable"}), 409, "nothing_to_roll_back")


def test_an_alias_cannot_point_at_a_missing_version(client: FlaskClient) -> None:
    problem(client.put("/v1/models/aliases/stable", json={"version": "pets/99"}), 422, "unknown_model")
    problem(client.put("/v1/models/aliases/newest", json={"version": "pets/9"}), 404, "not_found")
    problem(client.put("/v1/models/aliases/stable", json={"version": 9}), 400, "invalid_request")
    problem(client.put("/v1/models/aliases/stable", json={}), 400, "invalid_request")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_a_form_on_another_sites_page_changes_nothing(client: FlaskClient, storage: Storage, kind: str) -> None:
    storage.models.point(Alias.STABLE, "pets/9")
    answer = client.post("/v1/models/rollback", data=b"{}", headers={"Content-Type": kind})
    problem(answer, 400, "invalid_request")
    assert storage.models.aliases(fresh=True)["stable"] == "pets/9"


def test_a_job_may_pin_a_version(client: FlaskClient, work: Callable[[], None]) -> None:
    pinned, named = post(client, model="pets/9").get_json(), post(client, model="stable").get_json()
    work()
    versions = [client.get(job["links"]["self"]).get_json()["model"]["version"] for job in (pinned, named)]
    assert versions == ["9", Card.load(SHIPPED_MODEL).version]


@pytest.mark.parametrize("model", ["pets/99", "canary", "", "x" * 129, "../uploads", "pets/9/card.json"])
def test_an_unknown_model_is_refused_at_once(client: FlaskClient, storage: Storage, model: str) -> None:
    problem(post(client, model=model), 422, "unknown_model")
    problem(client.post("/v1/batches", json={"options": {"model": model}}), 422, "unknown_model")
    assert not list(storage.objects.listing("uploads", ""))


def test_an_invalid_model_name_is_refused(client: FlaskClient) -> None:
    problem(post(client, model="x" * 200), 400, "invalid_request")


def test_a_batch_may_pin_a_version(client: FlaskClient, work: Callable[[], None]) -> None:
    batch = client.post("/v1/batches", json={"options": {"model": "pets/9"}}).get_json()
    data = {"image": [(io.BytesIO(pictures.jpeg()), "a.jpg")]}
    [item] = client.post(f"/v1/batches/{batch['id']}/jobs", data=data).get_json()["items"]
    work()
    assert client.get(f"/v1/jobs/{item['job_id']}").get_json()["model"]["version"] == "9"
    assert client.get(batch["links"]["self"]).get_json()["model"] == "pets/9"
