"""The events that a web process writes to the audit log, and their bounds."""

import logging
import time
from pathlib import Path
from typing import Any

import pictures
import pytest
from callers import bearer, guarded, new_key
from flask import Flask
from pydantic import SecretStr
from services import SHIPPED_MODEL, wait_until

from storage.connection import Storage, connect
from storage.records import schema
from storage.records.api_key import Scope, key_id
from storage.records.audit import AuditFilter
from storage.records.audit_event import Action, Counted, Event
from web.access import journal
from web.access.journal import MOST_SEPARATE, OTHERS, Journal

UNKNOWN = "seg_" + "0" * 12 + "_" + "a" * 43


@pytest.fixture
def web(own_store: Storage) -> Flask:
    own_store.models.publish(SHIPPED_MODEL)
    return guarded(own_store, key_cache_s=0)


def recorded(web: Flask, action: Action) -> list[Counted]:
    web.extensions["journal"].flush()
    found: list[Counted] = web.extensions["storage"].audit.newest(AuditFilter(action), 100)
    return found


def test_failed_sign_ins_are_counted_by_their_network(web: Flask, own_store: Storage) -> None:
    key = new_key(own_store)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    for text, address in ((wrong, "10.0.0.1"), (wrong, "10.0.0.1"), (UNKNOWN, "2001:db8::1"), ("x", "10.0.0.1")):
        answer = web.test_client().get("/v1/queue", headers=bearer(text), environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == 401
    found = {(one.event.target, one.event.source): one.count for one in recorded(web, Action.AUTH_FAILED)}
    assert found == {(key_id(key), "10.0.0.1"): 2, ("0" * 12, "2001:db8::/64"): 1, ("", "10.0.0.1"): 1}


def test_an_attacker_does_not_fill_the_log(own_store: Storage) -> None:
    web = guarded(own_store)
    for number in range(60):
        text = f"seg_{number:012x}_{'a' * 43}"
        web.test_client().get("/v1/queue", headers=bearer(text), environ_base={"REMOTE_ADDR": f"10.0.1.{number}"})
        if number % 20 == 0:
            web.extensions["journal"].flush()
    found = recorded(web, Action.AUTH_FAILED)
    apart = [one for one in found if one.event.source != OTHERS]
    assert len(apart) == MOST_SEPARATE
    assert sum(one.count for one in found) == 60
    assert len(found) <= MOST_SEPARATE + 3


def test_refused_requests_are_recorded_with_caller_and_route(web: Flask, own_store: Storage) -> None:
    key = new_key(own_store)
    for _ in range(2):
        assert web.test_client().post("/v1/models/rollback", json={}, headers=bearer(key)).status_code == 403
    [found] = recorded(web, Action.REQUEST_REFUSED)
    assert found.event == Event(Action.REQUEST_REFUSED, "acme", key_id(key) or "", "127.0.0.1", "POST models.rollback")
    assert found.count == 2


def test_models_and_erasures_are_recorded(web: Flask, own_store: Storage, tmp_path: Path) -> None:
    from versions import version_folder

    own_store.models.publish(version_folder(tmp_path, "9"))
    admin, client = bearer(new_key(own_store, "ops", (Scope.ADMIN,))), web.test_client()
    assert client.put("/v1/models/aliases/stable", json={"version": "pets/9"}, headers=admin).status_code == 200
    assert client.post("/v1/models/rollback", json={}, headers=admin).status_code == 200
    photo: dict[str, Any] = {"data": pictures.jpeg(), "content_type": "image/jpeg"}
    job = client.post("/v1/jobs", headers=admin, **photo).get_json()
    assert client.delete(f"/v1/jobs/{job['id']}", headers=admin).status_code == 204
    expected = {
        Action.MODEL_PROMOTED: ("ops", "pets/9", "stable"),
        Action.MODEL_ROLLED_BACK: ("ops", "pets/3", "stable"),
        Action.JOB_ERASED: ("ops", job["id"], ""),
    }
    for action, fields in expected.items():
        [found] = recorded(web, action)
        assert (found.event.actor, found.event.target, found.event.detail) == fields


def test_sessions_are_recorded_from_beginning_to_end(web: Flask, own_store: Storage) -> None:
    client, key = web.test_client(), new_key(own_store)
    client.post("/session", headers=bearer(key))
    cookie = client.get_cookie("segue_csrf")
    assert cookie
    client.delete("/session", headers={"X-CSRF-Token": cookie.value})
    admin = bearer(new_key(own_store, "ops", (Scope.ADMIN,)))
    web.test_client().get("/sessions?tenant=acme", headers=admin)
    [begun], [ended] = (recorded(web, action) for action in (Action.SESSION_BEGUN, Action.SESSION_ENDED))
    assert begun.event.target == ended.event.target
    assert (begun.event.actor, begun.event.key_id) == ("acme", key_id(key))
    [read] = recorded(web, Action.SESSIONS_READ)
    assert (read.event.actor, read.event.target) == ("ops", "acme")


def test_events_wait_while_the_database_is_down(own_store: Storage, tmp_path: Path) -> None:
    where = tmp_path / "later.db"
    where.mkdir()
    storage = connect(own_store.settings.replace(sql_url=SecretStr(f"sqlite:///{where}")))
    notes, event = Journal(storage), Event(Action.AUTH_FAILED, source="10.0.0.1")
    for _ in range(2):
        notes.note(event)
        notes.use_key("0" * 12, 1)
        notes.flush()
    where.rmdir()
    schema.migrate(storage.database)
    notes.flush()
    notes.flush()
    [found] = storage.audit.newest(AuditFilter(), 10)
    assert (found.event, found.count) == (event, 2)
    storage.database.dispose()


def test_waiting_events_are_bounded(
    own_store: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "MOST", 3)
    notes = Journal(own_store)
    with caplog.at_level(logging.ERROR):
        for number in range(5):
            notes.note(Event(Action.JOB_ERASED, target=str(number)))
    notes.flush()
    assert len(own_store.audit.newest(AuditFilter(), 10)) == 3
    assert caplog.messages.count("audit_event_lost") == 2


def test_events_are_written_in_the_background(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FLUSH_S", 0.05)
    notes = Journal(own_store)
    for number in range(2):
        notes.note(Event(Action.JOB_ERASED, target=str(number)))
        expected = number + 1
        wait_until(lambda expected=expected: len(own_store.audit.newest(AuditFilter(), 10)) == expected, "the event")
        time.sleep(0.2)  # the thread has ended; the next event starts another
