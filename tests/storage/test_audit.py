"""The append-only audit log, in each kind of database."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from storage.clock import now_ms
from storage.records.api_key import Scope
from storage.records.api_keys import ApiKeys
from storage.records.audit import DAY_MS, SHORTEST_DAYS, Audit, AuditFilter
from storage.records.audit_event import Action, Counted, Event
from storage.records.sql import Database

EVENT = Event(Action.AUTH_FAILED, source="10.0.0.1", target="000000000000")


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


def test_what_was_written_is_read_newest_first(audit: Audit) -> None:
    other = Event(Action.MODEL_PROMOTED, "acme", "0" * 12, "10.0.0.2", "pets/3", "stable")
    audit.write([Counted(EVENT, 1000, 7), Counted(other, 2000)])
    assert audit.newest(AuditFilter(), 10) == [Counted(other, 2000, 1), Counted(EVENT, 1000, 7)]
    assert audit.newest(AuditFilter(), 1) == [Counted(other, 2000, 1)]
    for wanted in ({"action": Action.MODEL_PROMOTED}, {"actor": "acme"}, {"key_id": "0" * 12}, {"since_ms": 1500}):
        assert [one.event for one in audit.newest(AuditFilter(**wanted), 10)] == [other], wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_a_row_is_neither_changed_nor_removed(audit: Audit, database: Database, statement: str) -> None:
    if statement.startswith("TRUNCATE") and database.url.startswith("sqlite"):
        pytest.skip("SQLite has no TRUNCATE")
    audit.write([Counted(EVENT, now_ms())])
    with pytest.raises(IntegrityError, match="append-only"), database.begin() as connection:
        connection.execute(text(statement))
    assert [one.event for one in audit.newest(AuditFilter(), 10)] == [EVENT]


def test_only_expired_rows_are_deleted(audit: Audit) -> None:
    now = now_ms()
    ages = {days: Counted(EVENT, now - days * DAY_MS) for days in (0, SHORTEST_DAYS - 1, SHORTEST_DAYS + 2, 400)}
    audit.write(ages.values())
    assert audit.forget(365) == 1
    assert audit.forget(1) == 1, "a retention below the minimum counts as the minimum"
    assert audit.newest(AuditFilter(), 10) == [ages[0], ages[SHORTEST_DAYS - 1]]


def test_changes_of_keys_are_recorded_with_them(database: Database, audit: Audit) -> None:
    keys = ApiKeys(database)
    key, _ = keys.create("acme", frozenset({Scope.READ}), source="shell:1000")
    keys.rotate(key.id, 0)
    keys.revoke(key.id)
    keys.revoke(key.id)
    found = audit.newest(AuditFilter(), 10)
    assert [one.event.action for one in found] == [Action.KEY_REVOKED, Action.KEY_ROTATED, Action.KEY_CREATED]
    assert {one.event.target for one in found} == {key.id}
    assert (found[-1].event.source, found[-1].event.detail) == ("shell:1000", "acme: read")
