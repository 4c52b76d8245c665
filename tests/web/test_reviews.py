"""/v1/training/inbox: who sees what, and what a decision does."""

import io
from typing import Any

import numpy as np
import pictures
import pytest
from callers import bearer, guarded, new_key
from described import held_to_description
from flask.testing import FlaskClient
from forms import form
from PIL import Image
from reviewed import HEIGHT, WIDTH, consent, consented, grey, ids_of, kept_of, put_item, served_ids, with_mask
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage
from storage.feedback import CONSENT, Verdict
from storage.records.api_key import Scope
from storage.records.audit import AuditFilter
from storage.records.audit_event import Action
from web.app import create_app
from web.services import journal
from worker.housekeeping import janitor, recorder

INBOX = "/v1/training/inbox"
ACCEPT = {"decision": "accept"}


@pytest.fixture
def client(own_store: Storage) -> FlaskClient:
    return held_to_description(create_app(own_store.settings)).test_client()


def listed(client: FlaskClient, **query: str) -> list[dict[str, Any]]:
    return list(client.get(INBOX, query_string=query).get_json()["data"])


def decide(client: FlaskClient, job_id: str, **how: Any) -> TestResponse:
    return client.post(f"{INBOX}/{job_id}/decision", **how)


def problem(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def test_the_inbox_holds_consented_jobs_of_every_tenant(own_store: Storage, client: FlaskClient) -> None:
    jobs = {consented(own_store, tenant, seed).id: tenant for seed, tenant in enumerate(("acme", "local", "other"))}
    with_mask(own_store, seed=4)
    recorder.record(own_store)
    found = listed(client)
    assert {entry["job_id"]: entry["tenant"] for entry in found} == jobs
    assert {(entry["state"], entry["verdict"], entry["scores"]) for entry in found} == {("waiting", "bad", None)}
    first = client.get(INBOX, query_string={"limit": 2})
    second = client.get(first.headers["Link"].partition(">")[0].lstrip("<")).get_json()
    assert [entry["job_id"] for entry in [*first.get_json()["data"], *second["data"]]] == sorted(jobs, reverse=True)
    assert second["next_cursor"] is None


@pytest.mark.parametrize("query", [{"state": "lost"}, {"limit": "0"}, {"cursor": "x"}, {"more": "1"}])
def test_an_invalid_query_is_refused(client: FlaskClient, query: dict[str, str]) -> None:
    assert problem(client.get(INBOX, query_string=query)) == (400, "invalid_request")


def test_a_review_shows_photo_mask_and_what_a_mask_must_fit(own_store: Storage, client: FlaskClient) -> None:
    job = consented(own_store, "acme")
    document = client.get(f"{INBOX}/{job.id}").get_json()
    assert (document["tenant"], document["state"], document["consent_wording"]) == ("acme", "waiting", CONSENT)
    assert (document["width"], document["height"], document["corrected"]) == (WIDTH, HEIGHT, False)
    assert [label["name"] for label in document["labels"]] == ["pet", "background", "border"]
    photo = client.get(document["links"]["photo"])
    with Image.open(io.BytesIO(photo.data)) as image:
        assert (image.format, image.size) == ("JPEG", (WIDTH, HEIGHT))
    assert photo.headers["Cache-Control"] == "no-store"
    assert np.array_equal(ids_of(client.get(document["links"]["mask"]).data), served_ids())


def test_the_photo_has_no_metadata(own_store: Storage, client: FlaskClient) -> None:
    job = consented(own_store)
    exif = Image.Exif()
    exif[0x010E] = "my home address"
    own_store.objects.put_upload(job.spec, pictures.encoded(pictures.photo(WIDTH, HEIGHT), exif=exif.tobytes()))
    assert b"address" not in client.get(f"{INBOX}/{job.id}/photo").data


def test_accept_reject_and_correct(own_store: Storage, client: FlaskClient) -> None:
    job, theirs = with_mask(own_store), served_ids(6)
    consent(own_store, job, Verdict.CORRECTED, grey(theirs))
    accepted = decide(client, job.id, json={**ACCEPT, "note": "good fur"}).get_json()
    assert (accepted["state"], accepted["mask_source"], accepted["note"]) == ("accepted", "sender", "good fur")
    assert (accepted["decided_by"], bool(accepted["decided_at"])) == ("local", True)
    assert np.array_equal(ids_of(client.get(f"{INBOX}/{job.id}/mask").data), theirs)
    rejected = decide(client, job.id, json={"decision": "reject"}).get_json()
    assert (rejected["state"], rejected["mask_source"]) == ("rejected", None)
    assert kept_of(own_store, job.id) == {"consent.json", "decision.json"}
    mine = served_ids(8)
    corrected = decide(client, job.id, **form([("mask", ("m.png", grey(mine)))], ACCEPT)).get_json()
    assert (corrected["state"], corrected["mask_source"]) == ("accepted", "reviewer")
    assert np.array_equal(ids_of(client.get(f"{INBOX}/{job.id}/mask").data), mine)
    again = decide(client, job.id, json=ACCEPT).get_json()
    assert again["mask_source"] == "reviewer", "accepting again keeps the accepted mask"
    recorder.record(own_store)
    [row] = listed(client, state="accepted")
    assert row == {name: again[name] for name in row}


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (np.zeros((HEIGHT, WIDTH + 1), np.uint8), "unprocessable_image"),
        (np.zeros((WIDTH, HEIGHT), np.uint8), "unprocessable_image"),
        (np.full((HEIGHT, WIDTH), 3, np.uint8), "unprocessable_image"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    own_store: Storage, client: FlaskClient, ids: "np.typing.NDArray[np.uint8]", code: str
) -> None:
    job = consented(own_store)
    assert problem(decide(client, job.id, **form([("mask", ("m.png", grey(ids)))], ACCEPT))) == (422, code)
    assert kept_of(own_store, job.id) == {"consent.json"}


@pytest.mark.parametrize("body", [{}, {"decision": "maybe"}, {**ACCEPT, "more": 1}, {**ACCEPT, "note": "x" * 2001}])
def test_an_invalid_decision_is_refused(own_store: Storage, client: FlaskClient, body: dict[str, Any]) -> None:
    job = consented(own_store)
    assert problem(decide(client, job.id, json=body)) == (400, "invalid_request")
    with_file = form([("mask", ("m.png", grey(served_ids())))], {"decision": "reject"})
    assert problem(decide(client, job.id, **with_file)) == (400, "invalid_request")
    assert kept_of(own_store, job.id) == {"consent.json"}


def test_without_a_consent_nobody_sees_or_decides(own_store: Storage, client: FlaskClient) -> None:
    job = with_mask(own_store)
    path = f"{INBOX}/{job.id}"
    for answer in (
        *(client.get(f"{path}{end}") for end in ("", "/photo", "/mask")),
        decide(client, job.id, json=ACCEPT),
    ):
        assert problem(answer) == (409, "no_consent")
    assert problem(client.get(f"{INBOX}/{keys.new_job_id()}")) == (404, "not_found")
    assert problem(client.get(f"{INBOX}/x")) == (404, "not_found")


def test_an_accepted_job_is_seen_and_erased_after_its_retention(own_store: Storage, client: FlaskClient) -> None:
    job = consented(own_store)
    decide(client, job.id, json=ACCEPT)
    put_item(own_store, job)
    recorder.record(own_store)
    own_store.jobs.client.zadd(keys.RETAINED, {job.id: 1})
    assert janitor.clean(own_store) == 1
    recorder.record(own_store)
    assert client.get(f"/v1/jobs/{job.id}").status_code == 410
    document = client.get(f"{INBOX}/{job.id}").get_json()
    assert (document["state"], document["width"]) == ("accepted", WIDTH)
    assert client.get(document["links"]["photo"]).status_code == 200
    assert np.array_equal(ids_of(client.get(document["links"]["mask"]).data), served_ids())
    own_store.jobs.client.delete(keys.gone(job.id))  # as a month later
    assert client.get(f"/v1/jobs/{job.id}").status_code == 404
    assert client.delete(f"/v1/jobs/{job.id}").status_code == 204
    assert kept_of(own_store, job.id) == set()
    recorder.record(own_store)
    assert listed(client, state="accepted") == []
    assert client.delete(f"/v1/jobs/{job.id}").status_code == 410
    assert client.get(document["links"]["photo"]).status_code == 404


def test_feedback_that_is_overtaken_by_an_erasure_leaves_nothing(
    own_store: Storage, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_mask(own_store)
    objects = client.application.extensions["storage"].objects
    put = objects.put

    def overtaken(bucket: str, key: str, *rest: Any) -> None:
        if key.endswith("consent.json"):
            assert client.delete(f"/v1/jobs/{job.id}").status_code == 204
        put(bucket, key, *rest)

    monkeypatch.setattr(objects, "put", overtaken)
    answer = client.post(f"/v1/jobs/{job.id}/feedback", json={"verdict": "bad", "consent_training": True})
    assert answer.status_code == 410
    assert kept_of(own_store, job.id) == set()


def test_only_an_admin_and_never_another_tenant(own_store: Storage) -> None:
    app = held_to_description(guarded(own_store))
    client = app.test_client()
    job = consented(own_store, "acme")
    decide_path, paths = (
        f"{INBOX}/{job.id}/decision",
        [INBOX, *(f"{INBOX}/{job.id}{end}" for end in ("", "/photo", "/mask"))],
    )
    for scopes in ((Scope.READ,), (Scope.SUBMIT, Scope.READ)):
        key = bearer(new_key(own_store, "acme", scopes))
        assert {client.get(path, headers=key).status_code for path in paths} == {403}
        assert client.post(decide_path, json=ACCEPT, headers=key).status_code == 403
    assert kept_of(own_store, job.id) == {"consent.json"}
    admin = bearer(new_key(own_store, "ops", (Scope.ADMIN,)))
    assert {client.get(path, headers=admin).status_code for path in paths} == {200}
    accepted = client.post(decide_path, json=ACCEPT, headers=admin).get_json()
    assert accepted["decided_by"].startswith("ops ")
    assert client.post(decide_path, json={"decision": "reject"}, headers=admin).status_code == 200
    other = bearer(new_key(own_store, "other"))
    assert client.delete(f"/v1/jobs/{job.id}", headers=other).status_code == 404
    with app.app_context():
        journal().flush()
    events = [one.event for one in own_store.audit.newest(AuditFilter(None, "ops", None, 0), 50)]
    assert {event.action for event in events} == {Action.JOB_READ, Action.REVIEW_ACCEPTED, Action.REVIEW_REJECTED}
    assert {(event.target, event.detail) for event in events} == {(job.id, "acme")}
