"""The key cache of a web process, over a fake database that counts queries and may be down."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import services

from storage.clock import now_ms
from storage.problems import Unavailable
from storage.records.api_key import ApiKey, Scope
from web.access import remembered
from web.access.known_keys import KnownKeys


class CountingDatabase:
    """A fake database of keys that counts its queries."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.down = False
        self.queries: list[str] = []
        self.slow: Callable[[], object] = lambda: None

    def add(self, key_id: str, revoked_ms: int = 0) -> None:
        self.keys[key_id] = ApiKey(key_id, "", "acme", frozenset(Scope), "", 1, revoked_ms)

    def __call__(self, key_id: str) -> ApiKey | None:
        self.queries.append(key_id)
        self.slow()
        if self.down:
            raise Unavailable("down")
        return self.keys.get(key_id)


@pytest.fixture
def database() -> CountingDatabase:
    made = CountingDatabase()
    made.add("a")
    return made


def test_a_fresh_key_is_looked_up_once(database: CountingDatabase) -> None:
    keys = KnownKeys(database, 60)
    assert all(keys.valid("a") for _ in range(10))
    assert database.queries == ["a"]


def test_a_revoked_key_stays_refused_in_an_outage(database: CountingDatabase) -> None:
    keys = KnownKeys(database, 0)
    assert keys.valid("a")
    database.add("a", revoked_ms=5)
    assert keys.valid("a") is None
    database.down = True
    assert keys.valid("a") is None


def test_a_cached_key_expires(database: CountingDatabase) -> None:
    keys = KnownKeys(database, 60)
    database.keys["b"] = ApiKey("b", "", "acme", frozenset(Scope), "", 1, expires_ms=now_ms() + 200)
    assert keys.valid("b")
    services.wait_until(lambda: keys.valid("b") is None, "the key's expiry")
    assert database.queries == ["b"]


def test_unknown_keys_are_not_cached(database: CountingDatabase) -> None:
    keys = KnownKeys(database, 60)
    assert keys.valid("b") is None
    assert not keys.knows("b")
    database.add("b")
    assert keys.valid("b")


def test_the_cache_is_bounded(database: CountingDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 3)
    keys = KnownKeys(database, 60)
    for number in range(5):
        database.add(str(number))
        keys.valid(str(number))
    assert [keys.knows(str(number)) for number in range(5)] == [False, False, True, True, True]


def test_in_an_outage_a_known_key_works_for_an_hour(
    database: CountingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KnownKeys(database, 0)
    assert keys.valid("a")
    database.down = True
    assert keys.valid("a")
    with pytest.raises(Unavailable):
        keys.valid("never seen")
    monkeypatch.setattr(remembered, "STALE_S", -1)
    with pytest.raises(Unavailable):
        keys.valid("a")


def test_a_database_that_is_down_is_queried_rarely(database: CountingDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KnownKeys(database, 0)
    keys.valid("a")
    database.down = True
    for _ in range(5):
        assert keys.valid("a")
    assert len(database.queries) == 2
    database.down = False
    monkeypatch.setattr(remembered, "RETRY_S", 0)
    database.add("a", revoked_ms=5)
    assert keys.valid("a") is None


def test_concurrent_requests_cost_one_query(database: CountingDatabase) -> None:
    keys = KnownKeys(database, 60)
    database.slow = lambda: time.sleep(0.1)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(keys.valid, ["a"] * 8))
    assert database.queries == ["a"]


def test_a_retry_of_a_hanging_database_blocks_one_request_only(
    database: CountingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KnownKeys(database, 0)
    keys.valid("a")
    database.down = True
    keys.valid("a")
    monkeypatch.setattr(remembered, "RETRY_S", 0)
    hanging = threading.Event()
    database.slow = lambda: hanging.wait(60)
    trying = threading.Thread(target=keys.valid, args=("a",))
    trying.start()
    services.wait_until(lambda: len(database.queries) == 3, "the hanging query")
    started = time.monotonic()
    assert keys.valid("a")
    assert time.monotonic() - started < 30
    hanging.set()
    trying.join()
