"""Real Redis and S3 for every test; data and browser where they are there, obligatory in CI."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keeping
import pytest
import services
import shapes
from pydantic import SecretStr
from sqlalchemy import text
from stack import Stack

from storage.connection import Storage, connect
from storage.objects import BUCKETS
from storage.records.sql import Database
from storage.settings import Settings

pytest_plugins = ["distribution", "fast", "revival", "summary"]

DEFAULT_DATA = services.ROOT / ".." / "shared" / "data" / "pets160"


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
        ticket_s=60,  # a pipeline that a test runs ends its work, however slow the machine is
    )
    objects = connect(made).objects

    def prepare() -> None:
        services.wait_until(lambda: services.prepared(objects), "the object store")

    prepare()
    connect(made).database.migrate()
    with keeping.kept(redis), keeping.kept(s3, prepare):
        yield made
    redis.stop()
    s3.stop()


@pytest.fixture
def connection(settings: Settings) -> Iterator[Storage]:
    """Storage over an empty Redis; the buckets keep what other tests left."""
    made = connect(settings)
    made.jobs.client.flushall()
    made.jobs.epoch.mark_intact()
    yield made
    made.jobs.client.close()


@pytest.fixture
def empty_store(connection: Storage) -> Storage:
    return emptied(connection)


@pytest.fixture
def own_store(connection: Storage, tmp_path: Path) -> Storage:
    """Empty buckets and tables and a model cache beside those that the other tests share."""
    own = {"bucket_prefix": "own-", "model_cache": tmp_path / "cache"}
    sql_url = SecretStr(f"sqlite:///{tmp_path}/own.db")
    made = connect(connection.settings.replace(sql_url=sql_url, **own))
    made.objects.make_buckets()
    made.database.migrate()
    return emptied(made)


def emptied(connection: Storage) -> Storage:
    for bucket in BUCKETS:
        for listed in connection.objects.listing(bucket, ""):
            connection.objects.remove(bucket, listed.key)
    return connection


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Service]:
    """Its folder must be open to the user that it runs as, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="segue-postgres-"))
    service = services.start_postgres(folder)
    with keeping.kept(service):
        yield service
    service.stop(signal.SIGINT)  # it would wait for its clients
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Empty tables, in each kind of database."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = services.postgres_url(request.getfixturevalue("postgres").port)
    made = Database(url)
    if request.param == "postgresql":
        with made.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    made.migrate()
    yield made
    made.dispose()


@pytest.fixture
def recording(own_store: Storage, database: Database) -> Iterator[Storage]:
    """Empty Redis, buckets and tables."""
    made = connect(own_store.settings.replace(sql_url=SecretStr(database.url)))
    yield made
    made.database.dispose()
    made.jobs.client.close()


@pytest.fixture(scope="session", params=["Redis", "Valkey"])
def redis_program(request: pytest.FixtureRequest) -> Path:
    """Each server that may stand behind REDIS_URL. Every test of a restart runs on both."""
    try:
        return services.redis_program(request.param)
    except LookupError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `make run` starts, with two workers."""
    with Stack(tmp_path_factory.mktemp("stack")) as made, keeping.kept(made):
        yield made


@pytest.fixture(scope="session")
def shapes_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that was trained on made-up pictures of two classes; they lie in ../../data."""
    return shapes.make_version(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def pets() -> Path:
    """The folder of real photos; skips by name where it is absent, unless SEGUE_DATA promises it in CI."""
    root = Path(os.environ.get("SEGUE_DATA") or DEFAULT_DATA)
    if not root.is_dir():
        if os.environ.get("CI") and os.environ.get("SEGUE_DATA"):
            pytest.fail(f"SEGUE_DATA names {root}, which is not there")
        pytest.skip(f"SEGUE_DATA: no photos in {root}")
    return root
