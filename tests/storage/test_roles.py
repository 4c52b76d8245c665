"""Redis and the object store refuse each role what it does not need. For PostgreSQL see test_sql_users.py."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import minio
import pytest
import redis
import services
from minio.error import S3Error
from specs import submit

from storage.connection import Storage
from storage.objects import (
    BATCHES,
    BUCKETS,
    FEEDBACK,
    MODELS,
    RENDERINGS,
    RESULTS,
    UPLOADS,
)
from storage.problems import Unavailable
from storage.roles.credentials import load_or_create
from storage.roles.minio_users import make_users
from storage.roles.roles import KEYS, OBJECTS, PROGRAMS, Role
from storage.settings import Settings

WEB, WORKER, HOUSEKEEPER, TRAINER, OPERATOR = Role
PREFIX = "roles-"  # of the buckets, as in conftest.py


# Redis.

REFUSED_TO_ALL: tuple[tuple[str, ...], ...] = (
    ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory", "1"), ("SHUTDOWN",), ("ACL", "LIST"), ("ACL", "SETUSER", "x"),
    ("SORT", "segue:open"), ("MONITOR",), ("CLIENT", "LIST"), ("CLIENT", "KILL", "TYPE", "normal"), ("SAVE",),
    ("REPLICAOF", "NO", "ONE"), ("MIGRATE", "127.0.0.1", "1", "segue:open", "0", "1"), ("SCRIPT", "FLUSH"),
    ("FUNCTION", "FLUSH"), ("FUNCTION", "LOAD", "REPLACE", "#!lua name=mine"), ("FUNCTION", "DELETE", "mine"),
    ("FUNCTION", "LIST"), ("FUNCTION", "RESTORE", "x"), ("EVAL", "return 1", "0"), ("EVALSHA", "0" * 40, "0"),
    ("EVAL_RO", "return 1", "0"), ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "EXISTS", "0" * 40),
    ("GET", "elsewhere"), ("SET", "elsewhere", "1"),
    ("PUBLISH", "elsewhere", "x"), ("RENAME", "segue:open", "segue:retained"), ("SWAPDB", "0", "1"),
)  # fmt: skip
TAKING: tuple[tuple[str, ...], ...] = (
    ("BRPOP", "{}", "0.1"), ("RPOP", "{}"), ("LPOP", "{}"), ("BLPOP", "{}", "0.1"), ("LRANGE", "{}", "0", "-1"),
    ("LMOVE", "{}", "segue:job:x", "LEFT", "LEFT"), ("LMPOP", "1", "{}", "LEFT"), ("RPOPLPUSH", "{}", "segue:job:x"),
    ("DEL", "{}"), ("LTRIM", "{}", "1", "0"), ("LREM", "{}", "0", "x"), ("LSET", "{}", "0", "x"),
)  # fmt: skip
OTHERS: dict[Role, tuple[tuple[str, ...], ...]] = {
    WEB: (
        ("LRANGE", "segue:claim:t", "0", "-1"), ("RPUSH", "segue:claim:t", "x"), ("DEL", "segue:claim:t"),
        ("SET", "segue:epoch", "x"), ("SET", "segue:clock", "1"), ("DEL", "segue:workers"),
        ("LPUSH", "control", "x"), ("LPUSH", "records", "x"), ("HGETALL", "worker:unacked"),
        ("DEL", "segue:lock:janitor"), ("BGREWRITEAOF",),
    ),
    WORKER: (
        ("BGREWRITEAOF",),
        ("HGETALL", "segue:idem:local:k"), ("DEL", "segue:idem:local:k"), ("GET", "segue:limits:x"),
        ("SET", "segue:limits:x", "1"), ("SET", "segue:epoch", "x"), ("DEL", "segue:gone:x"),
        ("DEL", "segue:lock:adopt"), ("LPUSH", "control", "x"), ("LPUSH", "records", "x"),
        ("HGETALL", "housekeeper:unacked"),
    ),
    HOUSEKEEPER: (("HGETALL", "worker:unacked"),),
    TRAINER: (
        ("HGETALL", "segue:job:x"), ("HSET", "segue:job:x", "status", "queued"), ("ZADD", "segue:retained", "0", "x"),
        ("DEL", "segue:gone:x"), ("SET", "segue:epoch", "x"), ("DEL", "segue:lock:janitor"), ("LPUSH", "segment", "x"),
        ("HGETALL", "worker:unacked"), ("BGREWRITEAOF",), ("ZREM", "segue:training:erasing", "x"),
    ),
}  # fmt: skip
# Celery's lists that a role must not consume.
NOT_TAKEN = {
    WEB: ("segment", "control", "records"),
    WORKER: ("control", "records"),
    HOUSEKEEPER: ("segment",),
    TRAINER: ("segment", "control", "records"),
}


def refused_commands() -> Iterator[tuple[Role, tuple[str, ...]]]:
    for role in PROGRAMS:
        taking = (tuple(part.format(queue) for part in command) for queue in NOT_TAKEN[role] for command in TAKING)
        yield from ((role, command) for command in (*REFUSED_TO_ALL, *OTHERS[role], *taking))


@pytest.mark.parametrize(("role", "command"), list(refused_commands()))
def test_a_command_is_refused(clients: dict[Role, "redis.Redis"], role: Role, command: tuple[str, ...]) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        clients[role].execute_command(*command)


@pytest.mark.parametrize("role", PROGRAMS)
def test_debugging_is_refused(clients: dict[Role, "redis.Redis"], role: Role) -> None:
    """Asks the ACL with DRYRUN, because the server has DEBUG disabled."""
    answer = clients[OPERATOR].execute_command("ACL", "DRYRUN", role, "DEBUG", "SLEEP", "0")
    assert "no permissions to run the 'debug|sleep' command" in answer or "'debug' command" in answer


@pytest.mark.parametrize("role", PROGRAMS)
def test_only_the_channel_of_events_can_be_subscribed(clients: dict[Role, "redis.Redis"], role: Role) -> None:
    for listen in (lambda channel: channel.subscribe("elsewhere"), lambda channel: channel.psubscribe("*")):
        with clients[role].pubsub() as channel:
            listen(channel)
            with pytest.raises(redis.exceptions.NoPermissionError):
                channel.get_message(timeout=2)


def test_a_function_has_only_the_rights_of_its_caller(connected: dict[Role, Storage]) -> None:
    made, client = submit(connected[WEB]), connected[OPERATOR].jobs.client
    connected[HOUSEKEEPER].jobs.epoch.mark_intact()
    with pytest.raises(redis.ResponseError, match=r"can't access at least one of the keys|No permissions"):
        connected[WEB].jobs.claim("t", "drainer", "web")
    with pytest.raises(redis.ResponseError, match=r"can't access at least one of the keys|No permissions"):
        connected[WORKER].jobs.idempotency.reserve(made)
    assert client.acl_log()
    client.acl_log_reset()


def test_a_client_without_a_user_is_refused(redis_host: str) -> None:
    with (
        redis.Redis.from_url(f"redis://{redis_host}/0", protocol=2) as client,
        pytest.raises(redis.AuthenticationError, match="Authentication required"),
    ):
        client.get("segue:epoch")


@pytest.mark.parametrize("role", Role)
def test_a_wrong_password_is_refused(redis_host: str, role: Role) -> None:
    with (
        redis.Redis.from_url(f"redis://{role}:wrong@{redis_host}/0") as client,
        pytest.raises(redis.AuthenticationError, match="invalid username-password pair"),
    ):
        client.ping()


def test_the_operator_may_do_everything(clients: dict[Role, "redis.Redis"]) -> None:
    assert clients[OPERATOR].acl_whoami() == "operator"
    assert clients[OPERATOR].keys("*") == []
    assert clients[OPERATOR].config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert clients[OPERATOR].flushall()


def test_every_family_of_keys_is_granted_to_a_role() -> None:
    """The housekeeper may use all families. The test names those that only it may use."""
    prelude = (services.ROOT / "storage" / "queue" / "lua" / "prelude.lua").read_text()
    families = set(re.findall(r"^--   segue:(\w+)", prelude, re.MULTILINE))
    given = {name.partition(":")[0] for role in (WEB, WORKER) for name in (*KEYS[role].writes, *KEYS[role].reads)}
    assert len(families) > 15
    assert families - given == {"functions"}


# The object store.

GET, PUT, LIST, DELETE, LOOK = "get", "put", "list", "delete", "look"


def do(client: "minio.Minio", what: str, bucket: str, key: str) -> None:
    if what == GET:
        client.get_object(bucket, key).close()
    elif what == PUT:
        client.put_object(bucket, key, io.BytesIO(b"x"), 1)
    elif what == LIST:
        list(client.list_objects(bucket))
    elif what == DELETE:
        client.remove_object(bucket, key)
    else:
        client.bucket_exists(bucket)


REFUSED_OBJECTS = [
    *((WEB, PUT, MODELS, key) for key in ("pets/3/card.json", "aliases.json2", "x/aliases.json")),
    (WEB, DELETE, MODELS, "pets/3/card.json"),
    (WEB, DELETE, MODELS, "aliases.json"),
    *(
        (WORKER, what, bucket, "a")
        for what in (GET, PUT, LIST, DELETE, LOOK)
        for bucket in (BATCHES, FEEDBACK, RENDERINGS)
    ),
    *((WORKER, what, UPLOADS, "a") for what in (PUT, DELETE)),
    *((WORKER, what, MODELS, key) for what in (PUT, DELETE) for key in ("aliases.json", "rollout.json")),
    *((role, PUT, MODELS, "rollout.json2") for role in (WEB, HOUSEKEEPER)),
    *((HOUSEKEEPER, DELETE, MODELS, key) for key in ("aliases.json", "rollout.json")),
    *((TRAINER, PUT, MODELS, key) for key in ("aliases.json", "rollout.json")),
    *((HOUSEKEEPER, what, MODELS, "pets/3/card.json") for what in (PUT, DELETE)),
    *((role, what, "elsewhere", "a") for what in (GET, PUT, LIST, DELETE, LOOK) for role in PROGRAMS),
]  # fmt: skip


@pytest.mark.parametrize(("role", "what", "bucket", "key"), REFUSED_OBJECTS)
def test_an_object_is_refused(stores: dict[Role, "minio.Minio"], role: Role, what: str, bucket: str, key: str) -> None:
    with pytest.raises(S3Error) as refused:
        do(stores[role], what, bucket if bucket == "elsewhere" else PREFIX + bucket, key)
    assert refused.value.code == "AccessDenied"


@pytest.mark.parametrize("role", PROGRAMS)
def test_no_program_makes_or_removes_buckets(stores: dict[Role, "minio.Minio"], role: Role) -> None:
    for act in (stores[role].make_bucket, stores[role].remove_bucket, stores[role].delete_bucket_policy):
        with pytest.raises(S3Error) as refused:
            act(PREFIX + RESULTS if act != stores[role].make_bucket else "another")
        assert refused.value.code == "AccessDenied"


@pytest.mark.parametrize(("role", "bucket"), [(role, bucket) for role in PROGRAMS for bucket in BUCKETS])
def test_every_granted_right_works(stores: dict[Role, "minio.Minio"], role: Role, bucket: str) -> None:
    """The opposite check: every operation that the table of roles grants succeeds."""
    granted = OBJECTS[role].get(bucket, ())
    names = {GET: "s3:GetObject", PUT: "s3:PutObject", LIST: "s3:ListBucket", DELETE: "s3:DeleteObject"}
    do(stores[OPERATOR], PUT, PREFIX + bucket, "a")
    for what in (what for what, name in names.items() if name in granted):
        do(stores[role], what, PREFIX + bucket, "a")


def test_a_wrong_secret_and_no_secret_are_refused(s3_host: tuple[str, str]) -> None:
    host = urlsplit(s3_host[0]).netloc
    wrong = minio.Minio(host, "web", "a-wrong-secret", secure=False, region="us-east-1")
    with pytest.raises(S3Error) as refused:
        do(wrong, GET, PREFIX + UPLOADS, "a")
    assert refused.value.code == "SignatureDoesNotMatch"
    with pytest.raises(S3Error) as refused:
        do(minio.Minio(host, secure=False, region="us-east-1"), GET, PREFIX + UPLOADS, "a")
    assert refused.value.code == "AccessDenied"


def test_secrets_last_until_their_folder_is_deleted(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    assert load_or_create(tmp_path) == first
    shutil.rmtree(tmp_path / WEB)
    second = load_or_create(tmp_path)
    assert second[WEB] != first[WEB]
    assert all(second[role] == first[role] for role in Role if role is not WEB)
    assert len(
        {own.redis_password for own in second.values()} | {own.s3_secret_key for own in second.values()}
    ) == 2 * len(Role)


def test_an_unreachable_store_is_reported_in_one_line() -> None:
    nowhere = Settings(s3_url="http://127.0.0.1:9", s3_secret_key="x", s3_users=dict.fromkeys(PROGRAMS, "secret"))
    with pytest.raises(Unavailable, match="creating MinIO users failed"):
        make_users(nowhere)
