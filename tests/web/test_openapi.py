"""/openapi.json and /docs describe what the routes do."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import learned
import pictures
import pytest
from callers import bearer, guarded, new_key
from described import Description, held_to_description
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import ValidationError
from openapi_spec_validator import validate
from services import SHIPPED_MODEL
from versions import version_folder

from learning.gate.verdict import GateOutcome
from storage.connection import Storage
from storage.problems import KINDS
from storage.records.api_key import Scope
from storage.training.runs import CURVES, LOG
from web.app import create_app
from web.openapi.document import OPERATIONS, path_of
from web.openapi.rendering import method_of
from worker.engines import Engines
from worker.housekeeping.recorder import record
from worker.pipeline.pipeline import Pipeline

Work = Callable[[], None]


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    own_store.models.publish(SHIPPED_MODEL)
    own_store.models.publish(version_folder(tmp_path, "9"))
    return own_store


@pytest.fixture
def app(storage: Storage) -> Flask:
    return held_to_description(create_app(storage.settings))


@pytest.fixture
def work(storage: Storage) -> Work:
    pipeline = Pipeline(storage, Engines(storage), "worker")
    return lambda: pipeline.run("drainer")


def test_the_description_is_valid(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_routes_and_description_are_the_same(app: Flask) -> None:
    routes = {
        (path_of(rule), method_of(rule).lower()) for rule in app.url_map.iter_rules() if rule.endpoint != "static"
    }
    paths = app.test_client().get("/openapi.json").get_json()["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == routes
    assert set(OPERATIONS) == {rule.endpoint for rule in app.url_map.iter_rules()} - {"static"}


def test_every_operation_has_a_summary(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith("."), operation["operationId"]
        assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"]}
        assert all(parameter["description"] for parameter in operation["parameters"])


def test_every_change_by_a_session_requires_its_csrf_token(app: Flask) -> None:
    paths = app.test_client().get("/openapi.json").get_json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            sends = "X-CSRF-Token" in {parameter["name"] for parameter in operation["parameters"]}
            assert sends == (method != "get" and (method, path) != ("post", "/session")), (method, path)
            csrf = [asked for asked in operation["security"] if "csrf" in asked]
            assert len(csrf) == (sends and bool(operation["security"])), (method, path)


def test_every_object_schema_is_closed(app: Flask) -> None:
    """An open schema would accept undescribed fields."""
    as_the_card_has_it = {"metrics", "guarantee"}
    different_for_each_kind_of_run = {"parameters", "figures", "result"}

    def check(name: str, schema: Any) -> None:
        if isinstance(schema, list):
            for one in schema:
                check(name, one)
        if not isinstance(schema, dict):
            return
        if schema.get("type") == "object" and name not in as_the_card_has_it | different_for_each_kind_of_run:
            assert schema["additionalProperties"] is False or isinstance(schema["additionalProperties"], dict), name
        for key, part in schema.items():
            check(key, part)

    check("", app.test_client().get("/openapi.json").get_json()["components"]["schemas"])


def test_an_undescribed_field_is_detected(app: Flask) -> None:
    queue = app.test_client().get("/v1/queue").get_json()
    description = Description(app)
    description.matches({"$ref": "#/components/schemas/Queue"}, queue)
    with pytest.raises(ValidationError, match="news"):
        description.matches({"$ref": "#/components/schemas/Queue"}, {**queue, "news": 1})


class Walk:
    """Calls the whole API as one client would."""

    def __init__(self, client: FlaskClient, storage: Storage, work: Work, description: Description) -> None:
        self.client, self.storage, self.work, self.description = client, storage, work, description

    def post(self, path: str, **how: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.client.post(path, **how).get_json()
        return found

    def submit(self, **how: Any) -> dict[str, Any]:
        return self.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", **how)

    def one_job(self) -> None:
        job = self.submit(headers={"Idempotency-Key": "a"})
        self.submit(headers={"Idempotency-Key": "a"})
        self.submit(query_string={"priority": "bulk", "deadline_s": 60}, headers={"Prefer": "wait=1"})
        path = job["links"]["self"]
        state = self.client.get(path, headers={"Prefer": "wait=1"}).headers["ETag"]
        assert self.client.get(path, headers={"If-None-Match": state}).status_code == 304
        assert self.client.get(f"{path}/mask").status_code == 409
        self.work()
        self.submit_and_wait()
        ended = self.client.get(path).get_json()
        mask = self.client.get(ended["links"]["mask"])
        assert (
            self.client.get(ended["links"]["mask"], headers={"If-None-Match": mask.headers["ETag"]}).status_code == 304
        )
        for name in ("overlay", "cutout", "confidence", "rle", "geojson", "image"):
            assert self.client.get(ended["links"][name]).status_code == 200, name
        photo = self.client.get(ended["links"]["image"])
        same = self.client.get(ended["links"]["image"], headers={"If-None-Match": photo.headers["ETag"]})
        assert same.status_code == 304
        assert self.client.get(f"{path}/mask", headers={"Accept": "image/tiff"}).status_code == 406
        [event_data] = re.findall("data: (.*)\n\n$", self.client.get(f"{path}/events").text)
        self.description.matches({"$ref": "#/components/schemas/Job"}, json.loads(event_data))
        self.remarks(f"{path}/feedback", mask.data)
        assert self.client.post(f"{path}/cancel").status_code == 409
        assert self.client.post(f"{path}/retry").status_code == 409
        assert self.client.delete(path).status_code == 204
        assert self.client.get(path).status_code == 410

    def submit_and_wait(self) -> None:
        """A repeated key of an ended job returns its end, so no worker has to run during the wait."""
        key = {"Idempotency-Key": "b"}
        self.submit(headers=key)
        self.work()
        waiting = {**key, "Prefer": "wait=5"}
        assert self.submit(headers=waiting)["status"] == "succeeded"
        for kind in ("image/png", "image/jpeg", "application/geo+json"):
            how: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
            answer = self.client.post("/v1/jobs", headers={**waiting, "Accept": kind}, **how)
            assert (answer.status_code, answer.mimetype) == (200, kind)

    def remarks(self, path: str, mask: bytes) -> None:
        self.client.post(path, json={"verdict": "good", "note": "fine"})
        form = {"verdict": "corrected", "consent_training": "true", "mask": (io.BytesIO(mask), "mask.png")}
        assert self.client.post(path, data=form).status_code == 201
        assert self.client.post(path, json={"verdict": "corrected"}).status_code == 400
        self.reviews(f"/v1/training/inbox/{path.split('/')[3]}")

    def reviews(self, path: str) -> None:
        record(self.storage)
        for found in (path, f"{path}/photo", f"{path}/mask", "/v1/training/inbox"):
            assert self.client.get(found).status_code == 200
        for decision in ("accept", "reject"):
            assert self.client.post(f"{path}/decision", json={"decision": decision}).status_code == 200
        assert self.client.get("/v1/training/inbox?limit=0").status_code == 400

    def ends_without_a_mask(self) -> None:
        path = self.submit()["links"]["self"]
        assert self.client.post(f"{path}/cancel").status_code == 200
        assert self.client.post(f"{path}/retry").status_code == 202
        [claimed] = self.storage.jobs.claim("token", "drainer", "worker")
        assert self.client.post(f"{path}/cancel").status_code == 202
        assert self.client.delete(path).status_code == 409
        self.storage.jobs.release("token", [claimed.id])
        damaged = self.post("/v1/jobs", data=pictures.truncated_jpeg(), content_type="image/jpeg")
        self.work()
        assert self.client.get(damaged["links"]["self"]).get_json()["error"]["code"] == "image_decode_failed"

    def lists(self) -> None:
        record(self.storage)
        answer = self.client.get("/v1/jobs?limit=1&status=succeeded")
        assert answer.status_code == 200
        assert self.client.get("/v1/jobs?limit=0").status_code == 400
        ids = [job["id"] for job in answer.get_json()["data"]]
        assert self.client.get(f"/v1/jobs?ids={ids[0]}").get_json()["missing"] == []

    def one_batch(self) -> None:
        links = self.post(
            "/v1/batches", json={"name": "a", "options": {"model": "pets/3"}}, headers={"Idempotency-Key": "c"}
        )["links"]
        sent = [(io.BytesIO(content), name) for name, content in self.photos()]
        self.client.post(links["jobs"], data={"image": sent})
        state = self.client.get(links["self"], headers={"Prefer": "wait=1"}).headers["ETag"]
        assert self.client.get(links["self"], headers={"If-None-Match": state}).status_code == 304
        assert self.client.post(links["close"]).status_code == 202
        self.work()
        self.streams(links)
        assert self.client.post(links["jobs"], data={"image": (io.BytesIO(b"x"), "x")}).status_code == 409

    def a_cancelled_batch(self) -> None:
        links = self.post("/v1/batches", json={})["links"]
        assert self.client.post(links["cancel"]).status_code == 202
        assert self.client.post(links["retry"]).status_code == 202

    def photos(self) -> list[tuple[str, bytes]]:
        return [("a/b.jpg", pictures.jpeg()), ("broken.jpg", pictures.truncated_jpeg()), ("no", b"no image")]

    def streams(self, links: dict[str, str]) -> None:
        lines = self.client.get(links["results"]).text.splitlines()
        assert len(lines) == 2
        for line in lines:
            self.description.matches({"$ref": "#/components/schemas/Item"}, json.loads(line))
        [event_data] = re.findall("data: (.*)\n\n$", self.client.get(links["events"]).text)
        self.description.matches({"$ref": "#/components/schemas/Batch"}, json.loads(event_data))
        archive = zipfile.ZipFile(io.BytesIO(self.client.get(links["archive"]).data))
        assert json.loads(archive.read("manifest.json"))["batch"]["status"] == "partially_failed"

    def models(self) -> None:
        self.client.get("/v1/models")
        assert self.client.post("/v1/models/rollback", json={}).status_code == 409
        assert self.client.put("/v1/models/aliases/stable", json={"version": "pets/9"}).status_code == 200
        assert self.client.post("/v1/models/rollback", json={"alias": "stable"}).status_code == 200
        assert self.client.put("/v1/models/aliases/new", json={"version": "pets/9"}).status_code == 404

    def rollouts(self) -> None:
        begun = self.client.post("/v1/rollouts", json={"version": "pets/9", "policy": {"steps": [0.1]}})
        assert begun.status_code == 201, begun.text
        path = f"/v1/rollouts/{begun.get_json()['id']}"
        for action in ("pause", "resume", "abort"):
            assert self.client.post(f"{path}/{action}", json={"reason": "a drill"}).status_code == 200
        assert self.client.post(f"{path}/abort", json={}).status_code == 409
        assert self.client.post(f"{path}/burn", json={}).status_code == 404
        assert self.client.get(path).status_code == self.client.get("/v1/rollouts").status_code == 200

    def training(self, folder: Path) -> None:
        learned.dataset(self.storage)
        learned.judged(self.storage, version := learned.candidate(self.storage, folder, "12"), GateOutcome.PASSED)
        run = self.post("/v1/training/runs", json={"kind": "train", "parameters": {"dataset": "pets"}})
        for name in (LOG, CURVES):
            assert self.client.get(run["links"][name.partition(".")[0]]).status_code == 404
            self.storage.runs.put(run["id"], name, b"x")
            assert self.client.get(run["links"][name.partition(".")[0]]).status_code == 200
        for path in ("runs", f"runs/{run['id']}", "datasets", "datasets/pets/1", "candidates", f"drift/{version}"):
            assert self.client.get(f"/v1/training/{path}").status_code == 200
        assert self.client.post(run["links"]["cancel"]).status_code == 200
        assert self.client.post(f"/v1/training/candidates/{version}/promote").status_code == 200

    def service(self) -> None:
        for path in ("/v1/queue", "/v1/usage", "/healthz", "/readyz", "/", "/docs", "/openapi.json"):
            assert self.client.get(path).status_code == 200
        assert self.client.get("/v1/nothing").status_code == 404
        assert self.client.put("/v1/queue").status_code == 405


def test_every_response_matches_its_description(app: Flask, storage: Storage, work: Work, tmp_path: Path) -> None:
    description: Description = app.extensions["description"]
    walk = Walk(app.test_client(), storage, work, description)
    walk.one_job()
    walk.ends_without_a_mask()
    walk.lists()
    walk.one_batch()
    walk.a_cancelled_batch()
    walk.models()
    walk.rollouts()
    walk.training(tmp_path)
    walk.service()
    assert app.test_client().get("/v1/jobs?limit=1").headers["Link"]
    sessions(storage, description)
    assert description.seen >= description.promised(), description.promised() - description.seen


def sessions(storage: Storage, description: Description) -> None:
    """Calls the session routes of an app that requires keys."""
    app = held_to_description(guarded(storage))
    app.extensions["description"] = description
    client = app.test_client()
    assert client.get("/v1/queue").status_code == 401
    assert client.post("/session").status_code == 401
    assert client.post("/session", headers=bearer(new_key(storage, scopes=(Scope.READ,)))).status_code == 204
    assert client.get("/v1/queue").status_code == 200
    assert client.post("/v1/jobs").status_code == 403
    assert client.delete("/session").status_code == 403
    cookie = client.get_cookie("segue_csrf")
    assert cookie is not None
    token = {"X-CSRF-Token": cookie.value}
    other = app.test_client()
    other.post("/session", headers=bearer(new_key(storage)))
    [current] = client.get("/sessions").get_json()["data"]
    assert client.delete("/sessions/unknown", headers=token).status_code == 404
    assert client.delete(f"/sessions/{current['id']}", headers=token).status_code == 204
    csrf = other.get_cookie("segue_csrf")
    assert csrf is not None
    assert other.delete("/sessions", headers={"X-CSRF-Token": csrf.value}).status_code == 204
    assert client.delete("/session").status_code == 204


class Page(HTMLParser):
    """The parts of /docs that the tests check."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named[name] or "" for name in ("href", "src") if name in named]
        if tag in ("script", "style", "iframe", "img") or any(name == "style" or name[:2] == "on" for name in named):
            self.inline.append(tag)


def test_the_page_is_complete_and_loads_nothing_from_other_hosts(app: Flask) -> None:
    client = app.test_client()
    answer = client.get("/docs")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page, document = Page(answer.text), client.get("/openapi.json").get_json()
    assert not page.inline
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    for link in (link for link in page.links if not link.startswith("#")):
        with client.get(link) as there:
            assert there.status_code == 200, link
    operations = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    schemas = {f"schema-{name}" for name in document["components"]["schemas"]}
    assert operations | schemas | {f"code-{code}" for code in KINDS} <= set(page.ids)


def test_the_description_is_readable_without_a_key(connection: Storage) -> None:
    client = guarded(connection).test_client()
    assert [client.get(path).status_code for path in ("/docs", "/openapi.json")] == [200, 200]
