"""/v1/training: runs, data sets and candidates."""

import re
from pathlib import Path
from typing import Any

import learned
import pytest
from callers import bearer, guarded, new_key
from described import held_to_description
from flask.testing import FlaskClient
from services import SHIPPED_MODEL
from werkzeug.test import TestResponse

from learning.gate.verdict import GateOutcome
from storage import keys, object_keys
from storage.connection import Storage
from storage.inputs.counts import add
from storage.inputs.profile import Profile
from storage.keys import TRAINING_QUEUE
from storage.models import Alias
from storage.objects import DATASETS
from storage.records.api_key import Scope
from storage.records.audit import AuditFilter
from storage.records.audit_event import Action
from storage.training.runs import CURVES, LOG, Kind, Progress, RunOutcome, Spec, Status
from web.app import create_app
from web.services import journal

RUNS, DATASETS_PATH, CANDIDATES = "/v1/training/runs", "/v1/training/datasets", "/v1/training/candidates"
UNKNOWN = "run_" + "0" * 32


@pytest.fixture
def client(store: Storage) -> FlaskClient:
    return held_to_description(create_app(store.settings)).test_client()


def submit(client: FlaskClient, kind: Kind, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = client.post(RUNS, json={"kind": kind, "parameters": parameters, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def problem(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def promote(client: FlaskClient, version: str) -> TestResponse:
    return client.post(f"{CANDIDATES}/{version}/promote")


def test_each_kind_is_submitted_complete(store: Storage, client: FlaskClient) -> None:
    training = {"dataset": "pets/1", "start": "pets/3", "candidate": "pets/4", "recipe": "finetune"}
    changes = {"changes": {"epochs": 3}}
    wanted: list[tuple[Kind, dict[str, Any], dict[str, Any]]] = [
        (Kind.SCORE, {}, {}),
        (Kind.BUILD, {"dataset": "pets"}, {"dataset": "pets", "number": 2}),
        (Kind.BUILD, {"dataset": "pets/1"}, {"dataset": "pets", "number": 3}),
        (Kind.TRAIN, {"dataset": "pets", **changes}, {**training, **changes}),
        (Kind.GATE, {"candidate": "pets/3", "dataset": "pets"}, {"candidate": "pets/3", "dataset": "pets/1"}),
    ]
    for kind, parameters, complete in wanted:
        run = submit(client, kind, parameters)
        assert (run["kind"], run["status"], run["created_by"]) == (kind, "queued", "local")
        assert run["parameters"] == complete
        assert client.get(run["links"]["self"]).get_json() == run
    assert store.jobs.client.llen(TRAINING_QUEUE) == len(wanted)
    listed = client.get(RUNS).get_json()["data"]
    assert sorted(run["kind"] for run in listed) == sorted(kind for kind, _, _ in wanted)
    assert [run["id"] for run in listed] == sorted((run["id"] for run in listed), reverse=True)


def test_open_runs_make_different_versions(client: FlaskClient) -> None:
    made = [submit(client, Kind.TRAIN, {"dataset": "pets"})["parameters"]["candidate"] for _ in range(3)]
    assert made == ["pets/4", "pets/5", "pets/6"]
    client.post(f"{client.get(RUNS).get_json()['data'][0]['links']['cancel']}")
    assert submit(client, Kind.TRAIN, {"dataset": "pets"})["parameters"]["candidate"] == "pets/7"


def test_a_build_that_teaches_is_followed_by_a_training_and_the_gate(store: Storage, client: FlaskClient) -> None:
    spec = store.runs.spec(submit(client, Kind.BUILD, {"dataset": "pets"}, teach=True)["id"])
    assert spec
    assert [kind for kind, _ in spec.then] == [Kind.TRAIN, Kind.GATE]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "guess"}, "kind"),
        ({"kind": "score", "more": 1}, "more"),
        ({"kind": "score", "teach": True}, "teach"),
        ({"kind": "score", "parameters": {"dataset": "pets"}}, "dataset"),
        ({"kind": "build"}, "dataset"),
        ({"kind": "build", "parameters": {"dataset": 7}}, "dataset"),
        ({"kind": "train", "parameters": {"dataset": "pets", "epochs": 3}}, "epochs"),
        ({"kind": "train", "parameters": {"dataset": "pets", "candidate": "../x"}}, "candidate"),
        ({"kind": "train", "parameters": {"dataset": "pets", "candidate": "pets/3"}}, "candidate"),
    ],
)
def test_an_invalid_run_is_refused(store: Storage, client: FlaskClient, body: dict[str, Any], field: str) -> None:
    answer = client.post(RUNS, json=body)
    assert problem(answer) == (400, "invalid_request")
    assert answer.get_json()["detail"].startswith(f"{field}: ")
    assert store.runs.ids() == {}


@pytest.mark.parametrize(
    ("kind", "parameters", "code", "detail"),
    [
        ("build", {"dataset": "dogs"}, "unknown_dataset", "there is no data set version dogs: see `segue data list`."),
        ("build", {"dataset": "../x"}, "unknown_dataset", "'../x' is not a data set's name: use a-z, 0-9, _ and -."),
        ("train", {"dataset": "pets/9"}, "unknown_dataset", "there is no data set version pets/9"),
        ("train", {"dataset": "pets", "start": "pets/9"}, "unknown_model", "start: one that GET /v1/models lists."),
        ("gate", {"candidate": "pets/9"}, "unknown_model", "candidate: one that GET /v1/models lists."),
        ("gate", {"candidate": "pets/3", "dataset": "dogs"}, "unknown_dataset", "there is no data set version dogs"),
    ],
)
def test_a_run_on_something_unknown_is_refused(
    client: FlaskClient, kind: str, parameters: dict[str, str], code: str, detail: str
) -> None:
    answer = client.post(RUNS, json={"kind": kind, "parameters": parameters})
    assert problem(answer) == (422, code)
    assert answer.get_json()["detail"].startswith(detail)
    assert client.get(RUNS).get_json()["data"] == []


def test_a_candidate_that_another_run_makes_is_refused(client: FlaskClient) -> None:
    wanted = {"dataset": "pets", "candidate": "pets/12"}
    submit(client, Kind.TRAIN, wanted)
    assert problem(client.post(RUNS, json={"kind": "train", "parameters": wanted})) == (400, "invalid_request")


def test_a_body_that_is_no_json_is_refused(client: FlaskClient) -> None:
    assert problem(client.post(RUNS, data="kind=score")) == (415, "unsupported_media_type")
    assert problem(client.post(RUNS, data="{", content_type="application/json")) == (400, "invalid_request")
    broken = '{"kind": "train", "parameters": {"dataset": "pets", "changes": {"rate": NaN}}}'
    assert problem(client.post(RUNS, data=broken, content_type="application/json")) == (400, "invalid_request")


def test_without_a_stable_version_no_training_starts(own_store: Storage) -> None:
    learned.dataset(own_store)
    client = held_to_description(create_app(own_store.settings)).test_client()
    answer = client.post(RUNS, json={"kind": "train", "parameters": {"dataset": "pets"}})
    assert problem(answer) == (422, "unknown_model")


def test_a_withdrawn_version_is_shown_and_not_trained_on(store: Storage, client: FlaskClient) -> None:
    held, left = keys.new_job_id(), keys.new_job_id()
    learned.dataset(store, number=2, held=(held,), left_out=(left,))
    document = client.get(f"{DATASETS_PATH}/pets/2").get_json()
    assert (document["id"], document["parent"], document["corrections"]) == ("pets/2", "pets/1", 1)
    assert document["photos"] == {"train": 1, "validation": 0, "gate": 1, "held_out": 0, "test": 0}
    assert [entry["job_id"] for entry in document["left_out"]] == [left]
    assert (document["withdrawn"], document["erased"]) == (False, [])
    submit(client, Kind.TRAIN, {"dataset": "pets/2"})
    store.objects.remove(DATASETS, f"{object_keys.dataset_items('pets', 'acme', held)}photo.jpg")
    answer = client.post(RUNS, json={"kind": "train", "parameters": {"dataset": "pets/2"}})
    assert problem(answer) == (422, "unknown_dataset")
    assert answer.get_json()["detail"] == "pets/2 is withdrawn: 1 of its photos were erased; build a new version."
    first, second = client.get(DATASETS_PATH).get_json()["data"]
    assert (first["id"], first["withdrawn"]) == ("pets/1", False)
    assert (second["id"], second["withdrawn"], second["erased"]) == ("pets/2", True, [held])
    submit(client, Kind.TRAIN, {"dataset": "pets/1"})
    submit(client, Kind.BUILD, {"dataset": "pets/2"})


@pytest.mark.parametrize("path", ["pets/9", "dogs/1", "pets/x", "../1", "pets/.."])
def test_an_unknown_data_set_is_not_found(client: FlaskClient, path: str) -> None:
    assert problem(client.get(f"{DATASETS_PATH}/{path}")) == (404, "not_found")


@pytest.mark.parametrize("run", [UNKNOWN, "x", "run_", f"{UNKNOWN}x", "%00"])
def test_an_unknown_run_is_not_found(client: FlaskClient, run: str) -> None:
    path = f"{RUNS}/{run}"
    for answer in (*(client.get(f"{path}{end}") for end in ("", "/log", "/curves")), client.post(f"{path}/cancel")):
        assert problem(answer) == (404, "not_found")


def test_a_runs_course_is_shown(store: Storage, client: FlaskClient) -> None:
    path = submit(client, Kind.TRAIN, {"dataset": "pets"})["links"]["self"]
    run_id = path.rpartition("/")[2]
    for end in ("log", "curves"):
        assert problem(client.get(f"{path}/{end}")) == (404, "not_found")
    store.runs.report(run_id, Progress(3, 40, "training", "host-1", {"loss": 0.25}))
    store.runs.put(run_id, LOG, b"epoch 3: \xc3\xa9tude\n")
    store.runs.put(run_id, CURVES, b"\x89PNG")
    running = client.get(path).get_json()
    assert (running["status"], running["trainer"], running["finished_at"]) == ("running", "host-1", None)
    assert running["progress"] == {"stage": "training", "done": 3, "total": 40, "figures": {"loss": 0.25}}
    log = client.get(running["links"]["log"])
    assert (log.text, log.content_type) == ("epoch 3: étude\n", "text/plain; charset=utf-8")
    curves = client.get(running["links"]["curves"])
    assert (curves.data, curves.content_type) == (b"\x89PNG", "image/png")
    store.runs.finish(run_id, RunOutcome(Status.SUCCEEDED, {"candidate": "pets/4", "next": UNKNOWN}))
    ended = client.get(path).get_json()
    assert (ended["status"], ended["result"]) == ("succeeded", {"candidate": "pets/4", "next": UNKNOWN})
    assert ended["finished_at"] >= ended["created_at"]


def test_a_run_is_canceled_until_it_has_ended(store: Storage, client: FlaskClient) -> None:
    links = submit(client, Kind.SCORE, {})["links"]
    run_id = links["self"].rpartition("/")[2]
    store.jobs.client.delete(TRAINING_QUEUE)
    for _ in range(2):
        asked = client.post(links["cancel"]).get_json()
        assert (asked["status"], asked["cancel_requested"]) == ("queued", True)
    assert store.jobs.client.llen(TRAINING_QUEUE) == 2, "a trainer is asked for, or the run would not end"
    store.runs.finish(run_id, RunOutcome(Status.FAILED, reason="out of luck"))
    assert problem(client.post(links["cancel"])) == (409, "already_terminal")
    assert client.get(links["self"]).get_json()["reason"] == "out of luck"


@pytest.mark.parametrize("outcome", [GateOutcome.FAILED, GateOutcome.UNDECIDED])
def test_the_gates_verdict_decides_about_a_candidate(
    store: Storage, client: FlaskClient, tmp_path: Path, outcome: GateOutcome
) -> None:
    version = learned.candidate(store, tmp_path, "4")
    [listed] = client.get(CANDIDATES).get_json()["data"]
    assert (listed["id"], listed["outcome"], listed["verdict"]) == (version, "not judged", None)
    assert (listed["dataset"], listed["start"]) == ("pets/1", "pets/3")
    answer = promote(client, version)
    assert problem(answer) == (409, "gate_not_passed")
    assert answer.get_json()["detail"] == "The gate has not judged pets/4: run `segue gate pets/4`."
    learned.judged(store, version, outcome)
    answer = promote(client, version)
    assert problem(answer) == (409, "gate_not_passed")
    reason = f"The gate's verdict on pets/4 is {outcome}. better on corrections: it is what it is."
    assert answer.get_json()["detail"] == reason
    [listed] = client.get(CANDIDATES).get_json()["data"]
    assert listed["outcome"] == listed["verdict"]["outcome"] == outcome
    assert not re.search("secret", str(listed)), "a score of the locked photos"
    assert store.models.aliases(fresh=True) == {Alias.STABLE: "pets/3"}


def test_a_candidate_that_passed_becomes_stable(store: Storage, client: FlaskClient, tmp_path: Path) -> None:
    version = learned.candidate(store, tmp_path, "4")
    learned.judged(store, version, GateOutcome.PASSED)
    for _ in range(2):
        answer = promote(client, version)
        assert answer.status_code == 200
        assert answer.get_json()["aliases"]["stable"][0]["version"] == version
    assert store.models.aliases(fresh=True) == {Alias.STABLE: version}
    assert client.post("/v1/models/rollback", json={}).status_code == 200
    assert store.models.aliases(fresh=True) == {Alias.STABLE: "pets/3"}, "promoting twice is one change"


def test_a_pass_against_another_stable_version_does_not_count(
    store: Storage, client: FlaskClient, tmp_path: Path
) -> None:
    first, second = (learned.candidate(store, tmp_path, number) for number in ("4", "5"))
    for version in (first, second):
        learned.judged(store, version, GateOutcome.PASSED)
    assert promote(client, first).status_code == 200
    answer = promote(client, second)
    assert problem(answer) == (409, "gate_not_passed")
    again = "run `segue gate pets/5`"
    assert answer.get_json()["detail"] == f"The gate compared pets/5 with pets/3; pets/4 is stable now: {again}."
    assert store.models.aliases(fresh=True) == {Alias.STABLE: first}


@pytest.mark.parametrize("version", ["pets/3", "pets/99", "%00/x"])
def test_only_a_candidate_is_promoted(client: FlaskClient, version: str) -> None:
    assert problem(promote(client, version)) == (422, "unknown_model")


def test_candidates_are_listed_the_newest_first(store: Storage, client: FlaskClient, tmp_path: Path) -> None:
    made = [learned.candidate(store, tmp_path, number) for number in ("5", "4")]
    found = client.get(CANDIDATES).get_json()["data"]
    assert {one["id"] for one in found} == set(made)
    assert [one["published_at"] for one in found] == sorted((one["published_at"] for one in found), reverse=True)


def test_only_an_admin(store: Storage, tmp_path: Path) -> None:
    app = held_to_description(guarded(store))
    client, version = app.test_client(), learned.candidate(store, tmp_path, "4")
    learned.judged(store, version, GateOutcome.PASSED)
    spec = Spec(keys.new_run_id(), Kind.TRAIN, {"dataset": "pets/1"}, 1, "me")
    store.runs.submit(spec)
    for name in (LOG, CURVES):
        store.runs.put(spec.id, name, b"x")
    run = f"{RUNS}/{spec.id}"
    reads = [RUNS, run, f"{run}/log", f"{run}/curves", DATASETS_PATH, f"{DATASETS_PATH}/pets/1", CANDIDATES]
    changes: list[tuple[str, Any]] = [
        (RUNS, {"kind": "score"}), (f"{run}/cancel", None), (f"{CANDIDATES}/{version}/promote", None),
    ]  # fmt: skip
    for scopes in ((Scope.READ,), (Scope.SUBMIT, Scope.READ)):
        key = bearer(new_key(store, "acme", scopes))
        assert {client.get(path, headers=key).status_code for path in reads} == {403}
        assert {client.post(path, json=body, headers=key).status_code for path, body in changes} == {403}
    assert {client.get(path).status_code for path in reads} == {401}
    assert store.runs.ids() == {spec.id: True}
    assert not store.runs.is_canceled(spec.id)
    assert store.models.aliases(fresh=True) == {Alias.STABLE: "pets/3"}
    admin = bearer(new_key(store, "ops", (Scope.ADMIN,)))
    assert {client.get(path, headers=admin).status_code for path in reads} == {200}
    made = client.post(RUNS, json={"kind": "score"}, headers=admin).get_json()
    assert made["created_by"].startswith("ops ")
    assert {client.post(path, headers=admin).status_code for path, _ in changes[1:]} == {200}
    with app.app_context():
        journal().flush()
    events = [one.event for one in store.audit.newest(AuditFilter(None, "ops", None, 0), 50)]
    assert {(event.action, event.target, event.detail) for event in events} == {
        (Action.RUN_SUBMITTED, made["id"], "score"),
        (Action.RUN_CANCELED, spec.id, ""),
        (Action.MODEL_PROMOTED, version, "stable"),
    }


def test_a_refusal_leaves_no_event(store: Storage, client: FlaskClient, tmp_path: Path) -> None:
    assert promote(client, learned.candidate(store, tmp_path, "4")).status_code == 409
    assert client.post(RUNS, json={"kind": "build", "parameters": {"dataset": "dogs"}}).status_code == 422
    with client.application.app_context():
        journal().flush()
    assert store.audit.newest(AuditFilter(None, None, None, 0), 50) == []


def test_the_drift_of_a_version(store: Storage, client: FlaskClient) -> None:
    profile = Profile.from_json((SHIPPED_MODEL / "inputs.json").read_bytes())
    for _ in range(30):
        add(store.jobs.client, "pets/3", profile, {"brightness": 0, "format": 1, "megapixels": 3})
    found = client.get("/v1/training/drift/pets/3").get_json()
    assert (found["version"], found["hours"], found["photos"], found["drifting"]) == ("pets/3", 24, 30, ["brightness"])
    features = {one["name"]: one for one in found["features"]}
    assert features["brightness"]["now"] == [30] + [0] * 9
    assert features["format"]["typical_now"] == "PNG"
    assert (features["megapixels"]["psi"], features["megapixels"]["typical_training"]) == (None, None)


@pytest.mark.parametrize("version", ["pets/9", "pets/3"])
def test_a_version_without_a_readable_profile_has_no_drift(store: Storage, client: FlaskClient, version: str) -> None:
    store.models.put_profile("pets/3", b"{}")
    assert problem(client.get(f"/v1/training/drift/{version}")) == (404, "not_found")
