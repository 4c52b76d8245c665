"""Fixtures for all tests: a real Redis server and a real S3 server.

Tests that need photos, a browser or another program skip if it is missing; in CI they fail.
"""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import learned
import pytest
import services
import shapes
import shared_services
from filelock import FileLock
from pydantic import SecretStr
from required import lacks
from sqlalchemy import text
from stack import Stack

from storage.connection import Storage, connect
from storage.objects import BUCKETS
from storage.records import schema
from storage.records.sql import Database
from storage.settings import Settings

pytest_plugins = ["databases", "distribution", "fast", "program_logs", "revival", "summary"]

DEFAULT_DATA = services.ROOT / ".." / "shared" / "data" / "pets160"
DEFAULT_TRAINING_DATA = DEFAULT_DATA.with_name("pets256")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder, secret = tmp_path_factory.mktemp("services"), secrets.token_hex(8)
    redis = services.start_redis(folder)
    s3 = services.start_s3(folder, secret)
    made = Settings(
        redis_url=f"redis://127.0.0.1:{redis.port}/0",
        s3_url=f"http://127.0.0.1:{s3.port}",
        s3_secret_key=secret,
        bucket_prefix="test-",
        sql_url=f"sqlite:///{folder}/records.db",
        model_cache=folder / "models",
        ticket_s=60,  # long enough for a pipeline under test to finish on a slow machine
    )
    objects = connect(made).objects

    def prepare() -> None:
        services.wait_until(lambda: services.prepared(objects), "the object store")

    prepare()
    schema.migrate(connect(made).database)
    with shared_services.watch(redis), shared_services.watch(s3, prepare):
        yield made
    redis.stop()
    s3.stop()


@pytest.fixture
def connection(settings: Settings) -> Iterator[Storage]:
    """Storage with an empty Redis. The buckets still hold the objects of earlier tests."""
    made = connect(settings)
    made.jobs.client.flushall()
    made.jobs.epoch.mark_intact()
    yield made
    made.close()


@pytest.fixture
def empty_store(connection: Storage) -> Storage:
    return emptied(connection)


@pytest.fixture
def own_store(connection: Storage, tmp_path: Path) -> Storage:
    """Storage with buckets, tables and a model cache that only this test uses, all empty."""
    own = {"bucket_prefix": "own-", "model_cache": tmp_path / "cache"}
    sql_url = SecretStr(f"sqlite:///{tmp_path}/own.db")
    made = connect(connection.settings.replace(sql_url=sql_url, **own))
    made.objects.make_buckets()
    schema.migrate(made.database)
    return emptied(made)


def emptied(connection: Storage) -> Storage:
    for bucket in BUCKETS:
        for listed in connection.objects.listing(bucket, ""):
            connection.objects.remove(bucket, listed.key)
    return connection


@pytest.fixture
def store(own_store: Storage) -> Storage:
    """`own_store` with the shipped version as `stable`, and version 1 of the data set `pets`."""
    own_store.models.publish(services.SHIPPED_MODEL)
    learned.dataset(own_store)
    return own_store


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Service]:
    """A PostgreSQL server. It runs as another user, who could not read a `tmp_path` folder."""
    folder = Path(tempfile.mkdtemp(prefix="segue-postgres-"))
    service = services.start_postgres(folder)
    with shared_services.watch(service):
        yield service
    service.stop(signal.SIGINT)  # on SIGTERM, PostgreSQL would wait for its clients to disconnect
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Empty tables, once in SQLite and once in PostgreSQL."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = services.postgres_url(request.getfixturevalue("postgres").port)
    made = Database(url)
    if request.param == "postgresql":
        with made.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    schema.migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def recording(own_store: Storage, database: Database) -> Iterator[Storage]:
    """Storage with an empty Redis, empty buckets and the empty tables of `database`."""
    made = connect(own_store.settings.replace(sql_url=SecretStr(database.url)))
    yield made
    made.close()


@pytest.fixture(scope="session", params=["Redis", "Valkey"])
def redis_program(request: pytest.FixtureRequest) -> Path:
    """The path of each server program that REDIS_URL may point at."""
    try:
        return services.redis_program(request.param)
    except LookupError as missing:
        lacks(str(missing))


@pytest.fixture(scope="session")
def nginx() -> None:
    """nginx is installed. Without it, skip the test; in CI, fail."""
    if services.nginx_program() is None:
        lacks("no nginx")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes that `make run` starts, with two workers."""
    with Stack(tmp_path_factory.mktemp("stack")) as made, shared_services.watch(made):
        yield made


@pytest.fixture(scope="session")
def shapes_version(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a model version trained on synthetic pictures of two classes.

    The pictures are in `../../data`, seen from that folder. Tests must not change it: the processes
    that run tests side by side share it, because training takes a minute.
    """
    if worker_id == "master":  # of pytest-xdist: the only process
        return shapes.make_version(tmp_path_factory.mktemp("made"))
    folder = tmp_path_factory.getbasetemp().parent / "made"
    with FileLock(folder.with_suffix(".lock")):
        if not (made := folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a training that failed
            folder.mkdir()
            made.symlink_to(shapes.make_version(folder))
        return made.resolve()


@pytest.fixture(scope="session")
def training_pets() -> Path:
    """The photos that the shipped version was trained and judged on. Without them, skip the test."""
    root = Path(os.environ.get("SEGUE_TRAINING_DATA") or DEFAULT_TRAINING_DATA)
    if not root.is_dir():
        pytest.skip(f"SEGUE_TRAINING_DATA: no photos in {root}")
    return root


@pytest.fixture(scope="session")
def pets() -> Path:
    """The folder of real photos. Without it, skip the test; in CI, fail if SEGUE_DATA is set."""
    root = Path(os.environ.get("SEGUE_DATA") or DEFAULT_DATA)
    if not root.is_dir():
        if os.environ.get("CI") and os.environ.get("SEGUE_DATA"):
            pytest.fail(f"SEGUE_DATA names {root}, which does not exist")
        pytest.skip(f"SEGUE_DATA: no photos in {root}")
    return root
