"""API keys in each kind of database."""

import pytest
from sqlalchemy import text

from storage.records.api_key import Scope, key_id
from storage.records.api_keys import ApiKeys
from storage.records.sql import Database

BOTH = frozenset({Scope.SUBMIT, Scope.READ})


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


def test_a_key_is_found_by_its_public_part_and_matches_itself_only(keys: ApiKeys) -> None:
    first, secret = keys.create("acme", BOTH, "the script")
    _, other = keys.create("acme", BOTH)
    found = keys.find(key_id(secret) or "")
    assert found == first
    assert (found.tenant, found.scopes, found.name) == ("acme", BOTH, "the script")
    assert found.matches(secret)
    assert not found.matches(other)
    assert not found.matches(secret[:-1] + ("A" if secret[-1] != "A" else "B"))


def test_the_key_itself_is_stored_nowhere(keys: ApiKeys, database: Database) -> None:
    _, secret = keys.create("acme", BOTH)
    with database.begin() as connection:
        rows = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert secret.rpartition("_")[2][:20] not in rows


def test_a_revoked_key_is_told_as_such(keys: ApiKeys) -> None:
    key, _ = keys.create("acme", BOTH)
    assert keys.any_valid()
    assert keys.revoke(key.id)
    assert not keys.revoke(key.id)
    assert not keys.any_valid()
    found = keys.find(key.id)
    assert found
    assert found.revoked_ms >= found.created_ms


def test_keys_are_listed_in_the_order_they_were_made(keys: ApiKeys) -> None:
    made = [keys.create("acme", frozenset({scope}))[0] for scope in Scope]
    assert {key.id for key in keys.all()} == {key.id for key in made}


@pytest.mark.parametrize("tenant", ["", "Acme", "a/b", "a b", "..", "-a", "a" * 65, "a:b", "ä", "anon-1"])
def test_a_tenant_that_could_not_be_part_of_a_key_is_refused(keys: ApiKeys, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        keys.create(tenant, BOTH)


@pytest.mark.parametrize("text", ["", "seg_", "seg_abc_def", "Bearer x", "seg_" + "g" * 12 + "_" + "a" * 43])
def test_what_cannot_be_a_key_needs_no_look_up(text: str) -> None:
    assert key_id(text) is None
