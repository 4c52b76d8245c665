"""/v1/rollouts: start, follow, pause, promote and abort a rollout."""

from pathlib import Path

import pytest
from callers import bearer, guarded, new_key
from described import held_to_description
from flask.testing import FlaskClient
from versions import publish, version_folder
from werkzeug.test import TestResponse

from storage import clock, feedback
from storage.connection import Storage
from storage.models import Alias
from storage.records.api_key import Scope
from storage.records.audit import AuditFilter
from storage.records.audit_event import Action
from web.app import create_app
from web.services import journal

PATH = "/v1/rollouts"


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    publish(own_store, tmp_path / "source", "8", "9")
    return own_store


@pytest.fixture
def client(storage: Storage) -> FlaskClient:
    return held_to_description(create_app(storage.settings)).test_client()


def start(client: FlaskClient, **more: object) -> TestResponse:
    return client.post(PATH, json={"version": "pets/9", **more})


def problem(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def test_a_rollout_begins_with_the_first_share_and_shows_what_is_missing(client: FlaskClient) -> None:
    made = start(client, policy={"steps": [0.05, 0.5], "shadow": 0}).get_json()
    assert (made["version"], made["stable"], made["state"], made["next_share"]) == ("pets/9", "pets/8", "running", 0.5)
    assert [step["share"] for step in made["steps"]] == [0.05]
    missing = {check["name"]: check["missing"] for check in made["checks"]}
    assert missing.pop("failures") > 100
    assert missing.pop("speed") > 3
    assert missing == {"verdicts": 0, "masks": 0}
    assert (made["evidence_against"], made["rolled_back_at"], made["next_step_s"]) == (1, 100, None)
    assert client.get(f"{PATH}/{made['id']}").get_json()["policy"] == made["policy"]
    assert client.get(PATH).get_json()["data"][0]["id"] == made["id"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"version": "pets/99"}, (422, "unknown_model")),
        ({"version": "pets/8"}, (400, "invalid_request")),
        ({"policy": {"steps": [0.5, 0.1]}}, (400, "invalid_request")),
        ({"policy": {"colour": 1}}, (400, "invalid_request")),
        ({"colour": 1}, (400, "invalid_request")),
    ],
)
def test_a_wrong_request_is_refused(client: FlaskClient, more: dict[str, object], expected: tuple[int, str]) -> None:
    assert problem(start(client, **more)) == expected
    assert client.get(PATH).get_json()["data"] == []


def test_a_second_rollout_and_an_ended_one_are_refused(client: FlaskClient) -> None:
    path = f"{PATH}/{start(client).get_json()['id']}"
    assert problem(start(client)) == (409, "rollout_open")
    assert client.post(f"{path}/abort", json={"reason": "enough"}).get_json()["state"] == "aborted"
    assert problem(client.post(f"{path}/pause", json={})) == (409, "already_terminal")
    start(client)
    assert problem(client.post(f"{path}/abort", json={})) == (409, "already_terminal")  # not that of another rollout
    assert problem(client.post(f"{PATH}/rol_{'0' * 32}/abort", json={})) == (404, "not_found")


def test_a_person_promotes_at_once(client: FlaskClient, storage: Storage) -> None:
    path = f"{PATH}/{start(client).get_json()['id']}"
    assert client.post(f"{path}/promote", json={"reason": "it is urgent"}).get_json()["state"] == "promoted"
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/9"
    with client.application.app_context():
        journal().flush()
    noted = {one.event.action for one in storage.audit.newest(AuditFilter(None, None, None, 0), 50)}
    assert noted == {Action.ROLLOUT_STARTED, Action.ROLLOUT_CHANGED}


def test_a_moved_alias_is_a_conflict(client: FlaskClient, storage: Storage, tmp_path: Path) -> None:
    path = f"{PATH}/{start(client).get_json()['id']}"
    storage.models.publish(version_folder(tmp_path / "more", "10"))
    storage.models.point(Alias.STABLE, "pets/10")
    assert problem(client.post(f"{path}/promote", json={})) == (409, "already_terminal")


def test_a_condemned_version_needs_a_pardon(client: FlaskClient, storage: Storage) -> None:
    start(client)
    storage.rollouts.change(lambda rollout: rollout.rolled_back("it was slow", clock.now_ms()))
    refused = start(client)
    assert problem(refused) == (409, "version_condemned")
    assert "it was slow" in refused.get_json()["detail"]
    assert client.get(PATH).get_json()["condemned"]["pets/9"]["reason"] == "it was slow"
    condemned = {one["id"]: one["condemned"] for one in client.get("/v1/models").get_json()["data"]}
    assert condemned == {"pets/8": None, "pets/9": "it was slow"}
    assert start(client, pardon=True).status_code == 201


def test_only_admins_see_and_change_rollouts(storage: Storage) -> None:
    client = guarded(storage).test_client()
    for scope, expected in ((Scope.SUBMIT, 403), (Scope.ADMIN, 200)):
        assert client.get(PATH, headers=bearer(new_key(storage, "acme", (scope,)))).status_code == expected


def test_only_bad_and_corrected_masks_are_judged(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    monkeypatch.setattr(storage.jobs, "judge", judged.append)
    for verdict in feedback.Verdict:
        given = feedback.Feedback(f"fbk_{verdict}", f"job_{verdict}", "t", verdict, "", "pets/9", "", False, "", 1)
        feedback.store(storage.objects, storage.jobs, given, None)
    assert judged == ["job_bad", "job_corrected"]
