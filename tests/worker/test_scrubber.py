"""Erased data is in no file any more: the tests search the files byte by byte."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from pydantic import SecretStr
from specs import spec

from storage.connection import Storage, connect
from storage.objects import UPLOADS, MinioObjects
from storage.records import schema
from storage.settings import Settings
from worker.housekeeping import recorder
from worker.housekeeping.scrubber import scrub

NAME = "a-name-that-nobody-else-uses.jpg"


def files_with(folder: Path, text: str) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:  # rewritten meanwhile
            continue
    return found


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Iterator[Storage]:
    """Redis and SQLite with their files in a folder of this test."""
    service = services.start_redis(tmp_path)
    url, sql_url = f"redis://127.0.0.1:{service.port}/0", SecretStr(f"sqlite:///{tmp_path}/records.db")
    made = connect(settings.replace(redis_url=url, sql_url=sql_url))
    schema.migrate(made.database)
    made.jobs.epoch.mark_intact()
    yield made
    made.close()
    service.stop()


def test_an_erased_name_leaves_redis_and_sqlite(own: Storage, tmp_path: Path) -> None:
    made = spec(filename=NAME)
    own.jobs.enqueue(made)
    recorder.record(own)
    services.wait_until(lambda: any(name.endswith(".aof") for name in files_with(tmp_path, NAME)), "the name in Redis")
    assert any(name.startswith("records.db") for name in files_with(tmp_path, NAME))
    own.jobs.begin_erase(made.id)
    own.jobs.finish_erase(made.id, made.tenant)
    recorder.record(own)
    assert files_with(tmp_path, NAME)
    scrub(own)
    services.wait_until(lambda: not files_with(tmp_path, NAME), "the end of the name")


def test_an_erased_photo_leaves_the_volumes(tmp_path: Path) -> None:
    """SeaweedFS vacuums its volumes periodically; in this test every few seconds."""
    service = services.start_s3(tmp_path, "a secret of the tests", S3_VACUUM_S=2)
    try:
        settings = Settings(s3_url=f"http://127.0.0.1:{service.port}", s3_secret_key="a secret of the tests")
        objects = MinioObjects(settings)
        services.wait_until(lambda: services.prepared(objects), "the object store")
        marker = os.urandom(16).hex()
        for key in ("erased", "kept"):
            content = f"{key} {marker}" if key == "erased" else key
            objects.put(UPLOADS, key, content.encode(), "image/jpeg")
        erased = f"erased {marker}"
        services.wait_until(lambda: files_with(tmp_path, erased), "the photo in a volume")
        objects.remove(UPLOADS, "erased")
        services.wait_until(lambda: not files_with(tmp_path, erased), "the end of the photo", 240)
        assert objects.get(UPLOADS, "kept") == b"kept"
    finally:
        service.stop()
