"""API keys in each kind of database."""

import pytest
from sqlalchemy import text

from storage.clock import now_ms
from storage.records.api_key import KeyState, Scope, key_id
from storage.records.api_keys import ApiKeys
from storage.records.sql import Database

BOTH = frozenset({Scope.SUBMIT, Scope.READ})
ID_AND_SECRET = "0" * 12 + "_" + "a" * 43


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


def test_a_key_is_found_by_its_public_part_and_matches_itself_only(keys: ApiKeys) -> None:
    first, secret = keys.create("acme", BOTH, "the script")
    _, other = keys.create("acme", BOTH)
    found = keys.find(key_id(secret) or "")
    assert found == first
    assert (found.tenant, found.scopes, found.name) == ("acme", BOTH, "the script")
    now = now_ms()
    assert found.matches(secret, now)
    assert not found.matches(other, now)
    assert not found.matches(secret[:-1] + ("A" if secret[-1] != "A" else "B"), now)


def test_the_keys_of_a_shard_name_it(database: Database) -> None:
    keys, now = ApiKeys(database, "a"), now_ms()
    key, secret = keys.create("acme", BOTH)
    assert secret.startswith(f"seg_a_{key.id}_")
    assert key_id(secret) == key.id
    assert not key.matches(secret.replace("seg_a_", "seg_b_"), now)
    assert not key.matches(secret.replace("seg_a_", "seg_"), now)
    _, before = ApiKeys(database).create("acme", BOTH)
    rotated = keys.rotate(key_id(before) or "", 1000)
    assert rotated
    assert rotated[1].startswith("seg_a_")
    assert [rotated[0].matches(one, now) for one in (before, rotated[1])] == [True, True]


def test_the_key_itself_is_stored_nowhere(keys: ApiKeys, database: Database) -> None:
    _, secret = keys.create("acme", BOTH)
    with database.begin() as connection:
        rows = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert secret.rpartition("_")[2][:20] not in rows


def test_a_revoked_key_is_reported_as_revoked(keys: ApiKeys) -> None:
    key, _ = keys.create("acme", BOTH)
    assert keys.any_valid()
    assert keys.revoke(key.id)
    assert not keys.revoke(key.id)
    assert not keys.any_valid()
    found = keys.find(key.id)
    assert found
    assert found.revoked_ms >= found.created_ms


def test_a_key_expires(keys: ApiKeys) -> None:
    now = now_ms()
    key, _ = keys.create("acme", BOTH, expires_ms=now - 1)
    assert key.state(now) is KeyState.EXPIRED
    assert key.state(now - 2) is KeyState.VALID
    assert not keys.any_valid()
    assert keys.rotate(key.id, 0) is None
    keys.create("acme", BOTH, expires_ms=now + 60_000)
    assert keys.any_valid()


def test_rotation_gives_a_new_secret_and_the_old_one_a_grace_period(keys: ApiKeys) -> None:
    key, old = keys.create("acme", BOTH, "the script")
    rotated = keys.rotate(key.id, 60_000)
    assert rotated
    found, new = keys.find(key.id), rotated[1]
    assert found == rotated[0]
    assert (found.id, found.name, found.scopes) == (key.id, "the script", BOTH)
    at = found.rotated_ms
    assert [found.matches(new, at), found.matches(old, at)] == [True, True]
    assert [found.matches(new, at + 60_000), found.matches(old, at + 60_000)] == [True, False]
    assert found.carries(key.created_ms - 1, at)
    assert not found.carries(key.created_ms - 1, at + 60_000)
    assert found.carries(at, at + 60_000)
    assert keys.rotate("0" * 12, 0) is None


def test_a_second_rotation_drops_the_first_secret(keys: ApiKeys) -> None:
    key, first = keys.create("acme", BOTH)
    for _ in range(2):
        keys.rotate(key.id, 60_000)
    found = keys.find(key.id)
    assert found
    assert not found.matches(first, found.rotated_ms)


def test_the_time_of_last_use_only_grows(keys: ApiKeys) -> None:
    key, _ = keys.create("acme", BOTH)
    for at_ms in (7000, 5000):
        keys.used({key.id: at_ms, "0" * 12: 1})
    found = keys.find(key.id)
    assert found
    assert found.last_used_ms == 7000


def test_keys_are_listed_in_the_order_they_were_made(keys: ApiKeys) -> None:
    made = [keys.create("acme", frozenset({scope}))[0] for scope in Scope]
    assert {key.id for key in keys.all()} == {key.id for key in made}


@pytest.mark.parametrize("tenant", ["", "Acme", "a/b", "a b", "..", "-a", "a" * 65, "a:b", "ä", "anon-1"])
def test_an_invalid_tenant_name_is_refused(keys: ApiKeys, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        keys.create(tenant, BOTH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seg_",
        "seg_abc_def",
        "Bearer x",
        "seg_" + "g" * 12 + "_" + "a" * 43,
        f"seg_A_{ID_AND_SECRET}",
        f"seg_ninechars_{ID_AND_SECRET}",
        f"seg__{ID_AND_SECRET}",
    ],
)
def test_malformed_keys_have_no_id(text: str) -> None:
    assert key_id(text) is None
