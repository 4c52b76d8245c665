"""Sessions in each kind of database."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from storage.clock import now_ms
from storage.records.api_key import Scope
from storage.records.api_keys import ApiKeys
from storage.records.audit import Audit, AuditFilter
from storage.records.audit_event import Action, Event
from storage.records.session import Session, token_digest
from storage.records.sessions import Sessions
from storage.records.sql import Database

HOUR_MS = 3600 * 1000
BY = Event(Action.SESSION_ENDED, "acme")


@pytest.fixture
def sessions(database: Database) -> Sessions:
    return Sessions(database)


def made(number: int, tenant: str = "acme", key_id: str = "a" * 12, **changes: int) -> Session:
    now = now_ms()
    session = Session(f"ses_{number}", token_digest(str(number)), tenant, key_id, now, now, now + HOUR_MS)
    return replace(session, **changes)


def test_a_session_is_found_by_its_tokens_digest(sessions: Sessions, database: Database) -> None:
    session = made(1)
    sessions.begin(session, "10.0.0.1")
    assert sessions.find(token_digest("1")) == session
    assert sessions.find(token_digest("2")) is None
    [row] = Audit(database).newest(AuditFilter(), 10)
    assert (row.event.action, row.event.target, row.event.source) == (Action.SESSION_BEGUN, "ses_1", "10.0.0.1")


def test_a_key_ends_only_its_own_sessions(sessions: Sessions) -> None:
    for number in (1, 2):
        sessions.begin(made(number), "")
    assert sessions.end_one("ses_1", "b" * 12, BY) == 0
    assert sessions.end_one("ses_1", "a" * 12, BY) == 1
    assert sessions.end_one("ses_1", "a" * 12, BY) == 0
    assert [session.id for session in sessions.of_key("a" * 12)] == ["ses_2"]
    ended = sessions.find(token_digest("1"))
    assert ended
    assert not ended.active(now_ms(), HOUR_MS)


def test_all_sessions_of_a_tenant_end(sessions: Sessions) -> None:
    for number, tenant in enumerate(("acme", "acme", "other")):
        sessions.begin(made(number, tenant, f"{number}" * 12), "")
    assert sessions.end_tenant("acme", BY) == 2
    assert sessions.of_tenant("acme") == []
    assert len(sessions.of_tenant("other")) == 1


def test_a_revoked_key_ends_its_sessions(sessions: Sessions, database: Database) -> None:
    key, _ = ApiKeys(database).create("acme", frozenset({Scope.READ}))
    for number, key_id in enumerate((key.id, key.id, "b" * 12)):
        sessions.begin(made(number, key_id=key_id), "")
    ApiKeys(database).revoke(key.id)
    assert sessions.of_key(key.id) == []
    assert len(sessions.of_key("b" * 12)) == 1


def test_an_anonymous_session_has_a_row_once_it_has_ended(sessions: Sessions, database: Database) -> None:
    session = made(1, "anon-1", "")
    for _ in range(2):
        sessions.end_unstored(session, BY)
    found = sessions.find(session.digest)
    assert found
    assert found.ended_ms
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 1


def test_the_last_use_only_grows_and_expired_sessions_are_deleted(sessions: Sessions) -> None:
    session = made(1, seen_ms=5000)
    sessions.begin(session, "")
    sessions.begin(made(2, expires_ms=1), "")
    for at_ms in (7000, 6000):
        sessions.seen({"ses_1": at_ms})
    found = sessions.find(session.digest)
    assert found
    assert found.seen_ms == 7000
    assert sessions.forget() == 1
    assert sessions.find(token_digest("2")) is None


def test_when_a_session_is_active() -> None:
    session = made(1, created_ms=0, seen_ms=1000, expires_ms=5000)
    assert session.active(1500, 1000)
    assert not session.active(2000, 1000), "idle"
    assert not session.active(5000, 10_000), "expired"
    assert not replace(session, ended_ms=1200).active(1500, 1000)
