"""The library of Redis functions: its versions, what survives, and its list of keys."""

import re
import socket
import subprocess
from collections.abc import Iterator

import pytest
import redis
import services
from specs import spec

from storage import keys
from storage.connection import Storage
from storage.queue import functions
from storage.queue.locks import Locks

LUA = services.ROOT / "storage" / "queue" / "lua"
LISTED = {"events"}  # a channel, which is not a key


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory, redis_program: object) -> Iterator["redis.Redis"]:
    """A server without the libraries of other tests, once with each server program."""
    service = services.start_redis(tmp_path_factory.mktemp("functions"), REDIS_SERVER=redis_program)
    with redis.Redis(port=service.port, decode_responses=True) as client:
        yield client
    service.stop()


def libraries(client: "redis.Redis") -> set[str]:
    found = client.function_list()
    rows = [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in found]
    return {row["library_name"] for row in rows}


def test_memory_is_bounded_and_nothing_evicted(own_redis: "redis.Redis") -> None:
    config = own_redis.config_get("maxmemory*")
    assert (config["maxmemory"], config["maxmemory-policy"]) == (str(1024**3), "noeviction")


def test_two_versions_run_side_by_side(own_redis: "redis.Redis") -> None:
    other = functions.library().replace(functions.library_name(), "segue_of_another_version")
    own_redis.function_load(other)
    own_redis.zadd(keys.FUNCTIONS, {"segue_of_another_version": 1})
    functions.load(own_redis)
    assert own_redis.fcall("segue_of_another_version_tickets", 0, "", 16) == 0
    assert functions.Functions(own_redis)("tickets", "", 16) == 0


def test_only_the_last_versions_are_kept(own_redis: "redis.Redis") -> None:
    names = [f"segue_version_{age}" for age in range(functions.KEPT + 1)]
    for age, name in enumerate(names):
        own_redis.function_load(functions.library().replace(functions.library_name(), name))
        own_redis.zadd(keys.FUNCTIONS, {name: -age})
    functions.load(own_redis)
    functions.load(own_redis)
    assert libraries(own_redis) == {functions.library_name(), *names[: functions.KEPT - 1]}


def test_functions_survive_a_flush_of_redis(connection: Storage) -> None:
    connection.jobs.client.flushall()
    assert functions.is_loaded(connection.jobs.client)
    assert connection.jobs.enqueue(spec()) == 1


def test_a_lock_is_released_if_the_functions_are_missing(own_redis: "redis.Redis") -> None:
    """As in a Redis that has just started: the lock must not block others until it expires."""
    own_redis.function_flush()
    locks = Locks(own_redis)
    with pytest.raises(redis.ResponseError), locks.alone("adopt", 300) as chosen:
        assert chosen
        with locks.alone("adopt", 300) as other:
            assert not other
        functions.Functions(own_redis)("tickets", "", 16)
    with locks.alone("adopt", 300) as chosen:
        assert chosen


def test_an_expired_lock_is_not_taken_from_its_next_holder(own_redis: "redis.Redis") -> None:
    with Locks(own_redis).alone("adopt", 300):
        own_redis.set(keys.lock("adopt"), "another's")
    assert own_redis.get(keys.lock("adopt")) == "another's"


def test_the_version_follows_from_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    before = functions.library_name()
    monkeypatch.setattr(functions, "SERVE", functions.SERVE + "\n-- another version\n")
    functions.library_name.cache_clear()
    after = functions.library_name()
    functions.library_name.cache_clear()
    assert re.fullmatch(r"segue_[0-9a-f]{12}", after)
    assert after != before


def test_every_function_is_in_the_library() -> None:
    assert {path.stem for path in LUA.glob("*.lua")} == {"prelude", *functions.ACCEPTING, *functions.DRAINING}


def families_used() -> set[str]:
    """The first word of every key that the Lua code or a Python module uses."""
    lua = "\n".join(path.read_text() for path in LUA.glob("*.lua"))
    code = "\n".join(
        path.read_text() for part in ("storage", "web", "worker") for path in (services.ROOT / part).rglob("*.py")
    )
    made = re.findall(r"\bP \.\. '(\w+)", lua) + re.findall(r"\{(?:keys\.)?PREFIX\}(\w+)", code)
    return set(made) - LISTED


def test_the_list_of_keys_is_complete() -> None:
    listed = set(re.findall(r"^--   segue:(\w+)", (LUA / "prelude.lua").read_text(), re.MULTILINE))
    assert listed == families_used()


def test_the_loader_ends_with_the_server() -> None:
    """Otherwise each Redis that fails to start would leave a process behind."""
    with socket.socket() as unused, subprocess.Popen(["true"]) as ended:
        unused.bind(("127.0.0.1", 0))
        ended.wait()
        functions.load_when_it_answers(f"redis://127.0.0.1:{unused.getsockname()[1]}/0", server_pid=ended.pid)
