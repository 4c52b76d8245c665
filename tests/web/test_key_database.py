"""When a process asks whether it can read the API keys."""

import pytest

from storage.problems import Unavailable
from web.access import key_database
from web.access.key_database import KeyDatabase


class Keys:
    """Stands for the database; counts the queries."""

    def __init__(self) -> None:
        self.answers, self.queries = False, 0

    def any_valid(self) -> bool:
        self.queries += 1
        if not self.answers:
            raise Unavailable("down")
        return True


@pytest.fixture
def keys() -> Keys:
    return Keys()


def test_it_asks_until_the_first_answer(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_database, "RETRY_S", 0)
    database = KeyDatabase(keys.any_valid, needed=True)
    assert [database.has_answered() for _ in range(3)] == [False] * 3
    keys.answers = True
    assert database.has_answered()
    keys.answers = False
    assert database.has_answered()
    assert keys.queries == 4


def test_probes_do_not_flood_a_database_that_is_down(keys: Keys) -> None:
    database = KeyDatabase(keys.any_valid, needed=True)
    assert not any(database.has_answered() for _ in range(100))
    assert keys.queries == 1


def test_a_server_that_needs_no_key_asks_nothing(keys: Keys) -> None:
    assert KeyDatabase(keys.any_valid, needed=False).has_answered()
    assert keys.queries == 0
