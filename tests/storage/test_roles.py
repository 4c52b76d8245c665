"""Real servers let each role do its work and refuse it everything else."""

import io
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import minio
import pytest
import redis
import reviewed
import services
from minio.error import S3Error
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from specs import spec, submit

from learning.review.scores import score_waiting
from storage import keys, lifecycle
from storage.connection import Storage, connect
from storage.job import Finished, Outcome, Status
from storage.keys import CONTROL_QUEUE, SEGMENT_QUEUE, Lane
from storage.models import Alias, EnginesReport
from storage.objects import (
    BATCHES,
    BUCKETS,
    DATASETS,
    FEEDBACK,
    MODELS,
    OUTCOME_TEXT,
    RENDERINGS,
    RESULTS,
    UPLOADS,
    MinioObjects,
)
from storage.problems import Problem, Unavailable
from storage.queue import functions
from storage.queue.binding import Binding
from storage.queue.epoch import server_ms
from storage.queue.metrics import QueueMetrics
from storage.queue.tickets import TASKS, celery_app
from storage.recovery import find
from storage.roles.credentials import Credentials, load_or_create, write
from storage.roles.minio_users import make_users
from storage.roles.roles import KEYS, OBJECTS, PROGRAMS, Role, redis_acl, seaweedfs_identities
from storage.settings import Settings
from storage.training import erasure, reviews
from web.access.caller import Caller
from web.access.rate_limits import RateLimits
from worker.housekeeping.janitor import clean
from worker.housekeeping.scrubber import scrub
from worker.housekeeping.sweeps import WIDE, adopt, adopt_after_loss, reconcile, sweep

WEB, WORKER, HOUSEKEEPER, TRAINER, OPERATOR = Role
PREFIX = "roles-"
# Larger than one part of a multipart upload.
LARGE = b"x" * (6 * 1024 * 1024)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roles")


@pytest.fixture(scope="module")
def credentials(folder: Path) -> Mapping[Role, Credentials]:
    return load_or_create(folder / "secrets")


@pytest.fixture(scope="module")
def redis_host(
    tmp_path_factory: pytest.TempPathFactory, credentials: Mapping[Role, Credentials], redis_program: Path
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    acl = write(folder / "redis.acl", redis_acl({role: own.redis_password for role, own in credentials.items()}))
    service = services.start_redis(folder, REDIS_ACL=acl, REDIS_SERVER=redis_program)
    host = f"127.0.0.1:{service.port}"
    functions.load_when_it_answers(credentials[OPERATOR].redis_url(OPERATOR, host))
    yield host
    service.stop()


@pytest.fixture(scope="module", params=["SeaweedFS", "MinIO"])
def s3_host(
    request: pytest.FixtureRequest, folder: Path, credentials: Mapping[Role, Credentials]
) -> Iterator[tuple[str, str]]:
    """Yield the URL, and the name of the operator, which in MinIO is the root user."""
    secret_keys = {role: own.s3_secret_key for role, own in credentials.items()}
    if request.param == "SeaweedFS":
        identities = write(folder / "s3.json", seaweedfs_identities(secret_keys, PREFIX))
        service, operator = services.start_s3(folder, "of nobody", S3_IDENTITIES=identities), "operator"
    else:
        service, operator = services.start_minio(folder, secret_keys[OPERATOR]), "segue"
    url = f"http://127.0.0.1:{service.port}"
    root = Settings(
        s3_url=url, s3_access_key=operator, s3_secret_key=secret_keys[OPERATOR], bucket_prefix=PREFIX,
        s3_users={role: secret_keys[role] for role in PROGRAMS},
    )  # fmt: skip
    services.wait_until(lambda: services.prepared(MinioObjects(root)), "the object store")
    if operator == "segue":
        make_users(root)
    yield url, operator
    service.stop()


@pytest.fixture
def clients(redis_host: str, credentials: Mapping[Role, Credentials]) -> Iterator[dict[Role, "redis.Redis"]]:
    opened = {
        role: redis.Redis.from_url(own.redis_url(role, redis_host), decode_responses=True)
        for role, own in credentials.items()
    }
    opened[OPERATOR].flushall()
    yield opened
    for client in opened.values():
        client.close()


@pytest.fixture
def connected(
    redis_host: str,
    s3_host: tuple[str, str],
    credentials: Mapping[Role, Credentials],
    clients: dict[Role, "redis.Redis"],
) -> Iterator[dict[Role, Storage]]:
    """Storage as each role's program would use it. Fails if Redis has refused any command."""
    url, operator = s3_host
    made = {
        role: connect(
            Settings(
                redis_url=own.redis_url(role, redis_host), s3_url=url, s3_secret_key=own.s3_secret_key,
                s3_access_key=operator if role is OPERATOR else role, bucket_prefix=PREFIX,
            )
        )
        for role, own in credentials.items()
    }  # fmt: skip
    for bucket in (UPLOADS, RESULTS):  # objects of other tests would be adopted
        for listed in made[OPERATOR].objects.listing(bucket, ""):
            made[OPERATOR].objects.remove(bucket, listed.key)
    clients[OPERATOR].acl_log_reset()
    yield made
    for connection in made.values():
        connection.jobs.client.close()
    refused = [f"{entry['username']} {entry['object']}" for entry in clients[OPERATOR].acl_log()]
    assert not refused


@pytest.fixture(scope="module")
def stores(s3_host: tuple[str, str], credentials: Mapping[Role, Credentials]) -> dict[Role, "minio.Minio"]:
    """An object store client for each role. The bucket `elsewhere` does not belong to Segue."""
    url, operator = s3_host
    made = {
        role: minio.Minio(
            urlsplit(url).netloc, operator if role is OPERATOR else role, own.s3_secret_key, secure=False,
            region="us-east-1",
        )
        for role, own in credentials.items()
    }  # fmt: skip
    made[OPERATOR].make_bucket("elsewhere")
    return made


# What each role needs.


def mask(outcome: Outcome) -> bytes:
    """The smallest mask, with the text from which a lost job hash is restored."""
    content, text = io.BytesIO(), PngInfo()
    text.add_text(OUTCOME_TEXT, outcome.to_json())
    Image.new("P", (1, 1)).save(content, "PNG", pnginfo=text)
    return content.getvalue()


def work_off(worker: Storage, token: str = "t") -> list[str]:
    """Process a micro-batch as a worker does. Returns the results of `finish`."""
    jobs = worker.jobs.claim(token, "drainer", "worker")
    photos = [worker.objects.get_upload(job.spec) for job in jobs]
    assert all(photos)
    worker.jobs.extend(token, "drainer", "worker", [job.id for job in jobs])
    put, done = worker.objects.put_result_after_others, Outcome(Status.SUCCEEDED, result={"width": 64})
    stored = [Finished(job.id, *put(job.spec, token, done, mask(done))) for job in jobs]
    return worker.jobs.finish(token, "worker", 10, stored)


def test_each_role_does_its_part_of_a_job(connected: dict[Role, Storage]) -> None:
    web, worker, housekeeper = (connected[role] for role in (WEB, WORKER, HOUSEKEEPER))
    assert adopt_after_loss(housekeeper)
    made = submit(web, key_hash="k", fingerprint="f")
    web.tickets.send(web.jobs.tickets_missing() or 1)
    assert worker.jobs.workers.beat("worker", 10_000) == (1, pytest.approx(server_ms(worker.jobs.client), abs=30_000))
    worker.jobs.workers.report("worker", EnginesReport([], {}), ["pets/9"], ["pets/3"])
    assert web.jobs.outlook(made.id).workers == 1
    assert web.jobs.idempotency.reserve(made)[0] == "done"
    with web.jobs.events() as channel:
        assert work_off(worker) == ["won"]
        assert channel.get_message(timeout=2) or channel.get_message(timeout=2)
    assert worker.jobs.tickets_missing("drainer") == 0
    job = web.jobs.get(made.id)
    assert job
    assert web.objects.outcome(job.result_key)
    assert web.jobs.queue().workers == 1
    assert "worker" in web.jobs.workers.reports()
    assert lifecycle.erase(web.objects, web.jobs, made.tenant, made.id)
    assert web.jobs.ids.tenant_of_erased(made.id) == made.tenant


def test_the_web_cancels_retries_and_restores_jobs(connected: dict[Role, Storage]) -> None:
    web, worker = connected[WEB], connected[WORKER]
    connected[HOUSEKEEPER].jobs.epoch.mark_intact()
    item = spec(batch_id=keys.new_batch_id())
    assert web.jobs.bind(item) is Binding.NEW
    web.jobs.enqueue(item)
    assert web.jobs.bind(item) is Binding.KNOWN
    web.jobs.begin_erase(item.id)
    made = submit(web, key_hash="k", fingerprint="f")
    job = web.jobs.get(made.id)
    assert job
    assert lifecycle.cancel(web.objects, web.jobs, job) == Status.CANCELED
    ended = web.jobs.get(made.id)
    assert ended
    assert lifecycle.retry(web.objects, web.jobs, ended, 60)
    worker.jobs.release("t", [claimed.id for claimed in worker.jobs.claim("t", "drainer", "worker")])
    assert work_off(worker, "u") == ["won"]
    connected[OPERATOR].jobs.client.delete(keys.job(made.id))
    restored = find(web.objects, web.jobs, made.tenant, made.id)
    assert restored
    assert restored.status is Status.SUCCEEDED


def test_the_housekeeper_repairs_and_cleans_up(connected: dict[Role, Storage]) -> None:
    web, worker, housekeeper = (connected[role] for role in (WEB, WORKER, HOUSEKEEPER))
    assert adopt_after_loss(housekeeper)
    lost, late, forgotten = (submit(web) for _ in range(3))
    worker.jobs.claim("t", "drainer", "worker")
    client = connected[OPERATOR].jobs.client
    client.zadd(keys.leases(Lane.INTERACTIVE), {lost.id: 1, late.id: 1})
    client.hset(keys.job(late.id), "cancel", "1")
    client.zrem(keys.leases(Lane.INTERACTIVE), forgotten.id)
    client.delete(f"{keys.PREFIX}drainers")
    sweep(housekeeper)
    reconcile(housekeeper)
    client.delete(keys.job(lost.id))
    assert adopt(housekeeper, WIDE, older_than_s=0) >= 1
    assert client.llen(SEGMENT_QUEUE) >= 1
    client.zadd(keys.RETAINED, {late.id: 1})
    assert clean(housekeeper) == 1
    scrub(housekeeper)


def test_each_role_does_its_part_of_a_review(connected: dict[Role, Storage], tmp_path: Path) -> None:
    web, housekeeper, trainer = (connected[role] for role in (WEB, HOUSEKEEPER, TRAINER))
    housekeeper.jobs.epoch.mark_intact()
    job = reviewed.with_mask(connected[OPERATOR])
    reviewed.consent(web, job)
    assert score_waiting(trainer, tmp_path, 100) >= 1
    reviewed.accepted(web, job)
    reviewed.put_item(trainer, job)
    assert [review.job_id for review in reviews.accepted(trainer.objects)] == [job.id]
    connected[OPERATOR].jobs.client.zadd(keys.RETAINED, {job.id: 1})
    assert clean(housekeeper) == 1
    assert len(reviewed.kept_of(web, job.id)) == 6
    assert lifecycle.erase(web.objects, web.jobs, "local", job.id)
    assert reviewed.kept_of(web, job.id) == set()
    assert erasure.complete(housekeeper.objects, housekeeper.jobs, after_ms=0)


def test_the_web_moves_an_alias_and_the_others_see_it(connected: dict[Role, Storage]) -> None:
    connected[OPERATOR].models.publish(services.SHIPPED_MODEL)
    connected[WEB].models.point(Alias.CANARY, "pets/3")
    for role in Role:
        assert connected[role].models.aliases(fresh=True)["canary"] == "pets/3"
        connected[role].models.verify("pets/3")


@pytest.mark.parametrize("role", [WEB, HOUSEKEEPER])
def test_a_role_that_exports_the_queue_may_read_it(connected: dict[Role, Storage], role: Role) -> None:
    assert adopt_after_loss(connected[HOUSEKEEPER])
    sweep(connected[HOUSEKEEPER])
    submit(connected[WEB])
    assert work_off(connected[WORKER]) == ["won"]
    families = {family.name: family for family in QueueMetrics(connected[role].jobs, 1).collect()}
    ended = {one.labels["status"]: one.value for one in families["segue_jobs_ended"].samples}
    assert ended == {"succeeded": 1, "failed": 0, "canceled": 0, "expired": 0}
    assert families["segue_sweep_age_seconds"].samples[0].value < 60


def test_the_web_may_use_the_rate_limits(connected: dict[Role, Storage]) -> None:
    web, acme = connected[WEB], Caller("acme", frozenset(), "key")
    limits = RateLimits(web.jobs.client, web.settings.replace(limit_key="1/hour"))
    limits.take(acme, "10.0.0.1")
    with pytest.raises(Problem, match="rate_limited"):
        limits.take(acme, "10.0.0.1")


@pytest.mark.parametrize(("role", "queue"), [(WORKER, SEGMENT_QUEUE), (HOUSEKEEPER, CONTROL_QUEUE)])
def test_a_message_whose_holder_died_is_put_back(connected: dict[Role, Storage], role: Role, queue: str) -> None:
    with celery_app(connected[role].settings.redis_url).connection() as broker:
        channel = broker.default_channel
        celery_app(connected[role].settings.redis_url).send_task(TASKS[queue][0], queue=queue)
        message = channel.basic_get(queue)
        channel.visibility_timeout = -1
        channel.qos.restore_visible(interval=1)
        assert channel.basic_get(queue).delivery_tag == message.delivery_tag


@pytest.mark.parametrize("role", PROGRAMS)
def test_a_missing_object_is_not_reported_as_forbidden(connected: dict[Role, Storage], role: Role) -> None:
    for bucket in (place for place in OBJECTS[role] if "/" not in place):
        assert connected[role].objects.exists(bucket)
        assert connected[role].objects.get(bucket, "no/such/key") is None
        assert connected[role].objects.metadata(bucket, "no/such/key", "spec") is None


@pytest.mark.parametrize("role", PROGRAMS)
def test_large_objects_are_stored_in_parts(connected: dict[Role, Storage], role: Role) -> None:
    bucket = DATASETS if role is TRAINER else RESULTS
    connected[role].objects.put(bucket, "large", LARGE, "image/png")
    connected[role].objects.remove(bucket, "large")
    assert connected[role].objects.get(bucket, "large") is None


# What each role is refused.

NOBODYS: tuple[tuple[str, ...], ...] = (
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
        yield from ((role, command) for command in (*NOBODYS, *OTHERS[role], *taking))


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


# What each role is refused in the object store.

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
