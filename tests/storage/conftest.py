"""Real servers with the roles as users: fixtures of the tests of roles."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import minio
import pytest
import redis
import services

from storage.connection import Storage, connect
from storage.objects import (
    RESULTS,
    UPLOADS,
    MinioObjects,
)
from storage.queue import functions
from storage.roles.credentials import Credentials, load_or_create, write
from storage.roles.minio_users import make_users
from storage.roles.roles import PROGRAMS, Role, redis_acl, seaweedfs_identities
from storage.settings import Settings

PREFIX = "roles-"


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
    functions.load_when_it_answers(credentials[Role.OPERATOR].redis_url(Role.OPERATOR, host))
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
        service, operator = services.start_minio(folder, secret_keys[Role.OPERATOR]), "segue"
    url = f"http://127.0.0.1:{service.port}"
    root = Settings(
        s3_url=url, s3_access_key=operator, s3_secret_key=secret_keys[Role.OPERATOR], bucket_prefix=PREFIX,
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
    opened[Role.OPERATOR].flushall()
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
                s3_access_key=operator if role is Role.OPERATOR else role, bucket_prefix=PREFIX,
            )
        )
        for role, own in credentials.items()
    }  # fmt: skip
    for bucket in (UPLOADS, RESULTS):  # objects of other tests would be adopted
        for listed in made[Role.OPERATOR].objects.listing(bucket, ""):
            made[Role.OPERATOR].objects.remove(bucket, listed.key)
    clients[Role.OPERATOR].acl_log_reset()
    yield made
    for connection in made.values():
        connection.jobs.client.close()
    refused = [f"{entry['username']} {entry['object']}" for entry in clients[Role.OPERATOR].acl_log()]
    assert not refused


@pytest.fixture(scope="module")
def stores(s3_host: tuple[str, str], credentials: Mapping[Role, Credentials]) -> dict[Role, "minio.Minio"]:
    """An object store client for each role. The bucket `elsewhere` does not belong to Segue."""
    url, operator = s3_host
    made = {
        role: minio.Minio(
            urlsplit(url).netloc, operator if role is Role.OPERATOR else role, own.s3_secret_key, secure=False,
            region="us-east-1",
        )
        for role, own in credentials.items()
    }  # fmt: skip
    made[Role.OPERATOR].make_bucket("elsewhere")
    return made
