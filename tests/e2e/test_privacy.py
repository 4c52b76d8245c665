"""A photo's metadata never leaves the server, and erased data is stored nowhere."""

import io
import sqlite3
import zipfile
from contextlib import closing
from typing import Any
from uuid import uuid4

import pictures
import pytest
import services
from PIL import Image
from stack import Stack

from storage.connection import Storage, connect
from storage.objects import BUCKETS, MODELS
from storage.settings import Settings

GPS, XMP, COMMENT = "my gps position", "my xmp packet", "my comment"
GPS_IFD, GPS_AREA = 0x8825, 0x001C
Document = dict[str, Any]


def photo_with_metadata() -> bytes:
    """A JPEG with EXIF, GPS, XMP and a comment."""
    exif = Image.Exif()
    exif.get_ifd(GPS_IFD)[GPS_AREA] = GPS.encode()
    options = {"exif": exif, "comment": COMMENT.encode(), "xmp": XMP.encode()}
    content = pictures.encoded(pictures.photo(200, 150), "JPEG", **options)
    assert all(mark.encode() in content for mark in (GPS, XMP, COMMENT))
    return content


@pytest.fixture
def seen(stack: Stack) -> Storage:
    env = stack.environment()
    named = {
        name.lower(): env[name] for name in ("REDIS_URL", "S3_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY") if name in env
    }
    return connect(Settings(**named))


@pytest.fixture
def batch(stack: Stack) -> Document:
    """Two finished items: one with a personal name and a corrected mask, and one that stays."""
    name, note = f"passport-{uuid4().hex}", f"my neighbour {uuid4().hex}"
    made = stack.http.post("/v1/batches", json={"name": "a batch"}).json()
    files = [("image", (f"{each}.jpg", photo_with_metadata(), "image/jpeg")) for each in (name, "harmless")]
    items = stack.http.post(made["links"]["jobs"], files=files).json()["items"]
    stack.http.post(made["links"]["close"])
    services.wait_until(lambda: stack.http.get(made["links"]["self"]).json()["status"] == "succeeded", "the batch")
    document = stack.http.get(f"/v1/jobs/{items[0]['job_id']}").json()
    mask = stack.http.get(document["links"]["mask"]).content
    form = {"verdict": "corrected", "note": note, "consent_training": "true"}
    answer = stack.http.post(
        f"{document['links']['self']}/feedback", data=form, files={"mask": ("m.png", mask, "image/png")}
    )
    assert answer.status_code == 201, answer.text
    return {**made, "items": items, "name": name, "note": note}


def rows(stack: Stack) -> str:
    with closing(sqlite3.connect(stack.var / "records.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return "".join(str(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in tables)


def objects(seen: Storage) -> dict[str, bytes]:
    keys = ((bucket, one.key) for bucket in BUCKETS if bucket != MODELS for one in seen.objects.listing(bucket, ""))
    return {f"{bucket}/{key}": seen.objects.get(bucket, key) or b"" for bucket, key in keys}


def in_redis(seen: Storage) -> str:
    """All keys of Redis with their contents, as text."""
    client = seen.jobs.client
    read = {
        "hash": client.hgetall, "zset": lambda key: client.zrange(key, 0, -1), "string": client.get,
        "set": client.smembers, "list": lambda key: client.lrange(key, 0, -1),
        "none": lambda key: "",  # expired meanwhile
    }  # fmt: skip
    return "".join(f"{key} {read[client.type(key)](key)}" for key in client.scan_iter(count=1000))


def test_only_pixels_leave_the_server(stack: Stack, batch: Document) -> None:
    answers = [stack.http.get(batch["links"]["archive"]).content, stack.http.get(batch["links"]["results"]).content]
    with zipfile.ZipFile(io.BytesIO(answers[0])) as archive:
        answers += [archive.read(name) for name in archive.namelist()]
    for item in batch["items"]:
        job = stack.http.get(f"/v1/jobs/{item['job_id']}")
        answers += [job.content, *(stack.http.get(job.json()["links"][kind]).content for kind in ("mask", "overlay"))]
    for answer in answers:
        for mark in (GPS, XMP, COMMENT):
            assert mark.encode() not in answer
        if answer.startswith((b"\xff\xd8", b"\x89PNG")):
            with Image.open(io.BytesIO(answer)) as image:
                assert not image.getexif()
                assert not {"exif", "xmp", "comment", "icc_profile"} & image.info.keys()


def test_the_retention_is_shown(stack: Stack, batch: Document) -> None:
    job = stack.http.get(f"/v1/jobs/{batch['items'][0]['job_id']}").json()
    assert job["retained_until"] > job["finished_at"]


def test_an_erased_job_is_stored_nowhere(stack: Stack, seen: Storage, batch: Document) -> None:
    erased, kept = (item["job_id"] for item in batch["items"])
    name, note = batch["name"], batch["note"]
    services.wait_until(lambda: note in rows(stack), "the records")
    assert name in in_redis(seen)
    buckets = {key.partition("/")[0] for key in objects(seen) if erased in key}
    assert buckets == {"uploads", "results", "feedback", "training"}

    assert stack.http.delete(f"/v1/jobs/{erased}").status_code == 204
    left = objects(seen)
    assert not [key for key in left if erased in key]
    assert not [key for key, content in left.items() if name.encode() in content or note.encode() in content]
    assert [key for key in left if kept in key]
    assert name not in in_redis(seen)
    services.wait_until(lambda: name not in rows(stack), "the records to forget")
    assert note not in rows(stack)
    assert erased not in str(stack.http.get("/v1/jobs", params={"limit": 200}).json())
    assert stack.http.get(f"/v1/jobs/{erased}").status_code == 410
    assert stack.http.get(f"/v1/jobs/{kept}").status_code == 200
