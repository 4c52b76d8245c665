"""`segue backup` and `segue restore`, on the real object store, Redis and SQL."""

import io
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pictures
import pytest
import services
from operating import command, segue, working
from PIL import Image
from pydantic import SecretStr
from repeating import repeating
from specs import mask_of, submit
from sqlalchemy import select

from storage import object_keys
from storage.backup.folder import Folder
from storage.backup.saving import save
from storage.connection import Storage, connect
from storage.job import Status
from storage.objects import BUCKETS, FEEDBACK, RESULTS, UPLOADS
from storage.records.api_key import Scope, digest
from storage.records.tables import jobs
from storage.s3 import Listed
from worker.housekeeping import recorder

READ = frozenset({Scope.READ})
MANY = 1000  # objects: several pages, so that a command can be killed between two


@contextmanager
def load(storage: Storage) -> Iterator[list[str]]:
    """Submit photos until the block ends. Yields the growing list of accepted jobs."""
    accepted: list[str] = []

    def send() -> None:
        content = pictures.jpeg(160, 120, len(accepted))
        accepted.append(submit(storage, content).id)
        storage.tickets.send(storage.jobs.tickets_missing())
        time.sleep(0.05)

    with repeating(send, threads=1):
        yield accepted


def masks(storage: Storage, job_ids: list[str]) -> dict[str, bytes]:
    """The masks of those that have succeeded."""
    found = [job for job in storage.jobs.get_many(job_ids) if job and job.status == Status.SUCCEEDED]
    return {job.id: storage.objects.get(RESULTS, job.result_key) or b"" for job in found}


def class_ids(mask: bytes) -> bytes:
    with Image.open(io.BytesIO(mask)) as image:
        return np.asarray(image).tobytes()


def wiped(storage: Storage, sql: Path) -> Storage:
    """The same services without any object, key or row."""
    for bucket in BUCKETS:
        for listed in storage.objects.listing(bucket, ""):
            storage.objects.remove(bucket, listed.key)
    storage.jobs.client.flushall()
    storage.database.dispose()
    return connect(storage.settings.replace(sql_url=SecretStr(f"sqlite:///{sql}")))


def test_no_accepted_job_is_lost(store: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    key, text = store.api_keys.create("acme", READ, "laptop")
    with working(store, tmp_path / "worker.log"):
        with load(store) as accepted:
            services.wait_until(lambda: len(masks(store, list(accepted))) > 20, "the first masks")
            recorder.record(store)
            before = list(accepted)
            ended = masks(store, before)
            segue(store, "backup", folder)
            assert len(accepted) > len(before)  # the load went on
        services.wait_until(lambda: len(masks(store, before)) == len(before), "all masks")
        expected = masks(store, before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "all intact" in segue(store, "backup", "--verify", folder)
    new = wiped(store, tmp_path / "new.db")
    segue(new, "restore", folder)
    with working(new, tmp_path / "new-worker.log"):
        services.wait_until(lambda: len(masks(new, before)) == len(before), "all masks after the restore")
    restored = masks(new, before)
    assert ended == {job_id: restored[job_id] for job_id in ended}
    assert {name: class_ids(mask) for name, mask in restored.items()} == {
        name: class_ids(mask) for name, mask in expected.items()
    }
    recorder.record_missing(new)
    recorder.record(new)
    with new.database.begin() as connection:
        rows = connection.execute(select(jobs.c.id).where(jobs.c.status == "succeeded", jobs.c.erased_ms == 0))
        assert set(before) <= {row.id for row in rows}
    found = new.api_keys.find(key.id)
    assert found == key
    assert found.digest == digest(text)
    new.close()


def test_each_copied_result_has_its_upload(own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two listings, a job is accepted and ends."""
    listing = own_store.objects.listing

    def listing_later(bucket: str, prefix: str) -> Iterator[Listed]:
        made = submit(own_store)
        own_store.objects.put_result(made, "token", *mask_of({"width": 64}))
        return listing(bucket, prefix)

    monkeypatch.setattr(own_store.objects, "listing", listing_later)
    folder = Folder(tmp_path / "backup")
    save(own_store, folder, lambda _: None)
    owners = {
        bucket: {object_keys.owner(entry.key) for entry in folder.entries() if entry.bucket == bucket}
        for bucket in (RESULTS, UPLOADS)
    }
    assert len(owners[RESULTS]) > 5
    assert owners[RESULTS] < owners[UPLOADS]


def test_of_several_results_the_oldest_is_restored(own_store: Storage, tmp_path: Path) -> None:
    """The object of a lost attempt must not end the job otherwise than before."""
    made = submit(own_store)
    first = own_store.objects.put_result(made, "b", *mask_of({"width": 64}))
    time.sleep(1.1)  # the store may keep times in whole seconds
    own_store.objects.put_result(made, "a", *mask_of({"width": 65}))
    segue(own_store, "backup", tmp_path / "backup")
    new = wiped(own_store, tmp_path / "new.db")
    segue(new, "restore", tmp_path / "backup")
    assert [one.key for one in new.objects.listing(RESULTS, "")] == [first]
    job = new.jobs.get(made.id)
    assert job
    assert job.result_key == first
    new.close()


def many(storage: Storage) -> Storage:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: storage.objects.put(FEEDBACK, f"t/{n}", b"%d" % n, "text/plain"), range(MANY)))
    return storage


def killed_after_a_page(storage: Storage, *arguments: object) -> None:
    with command(storage, *arguments) as process:
        assert process.stderr
        assert " objects " in process.stderr.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()


def content(storage: Storage) -> dict[str, bytes | None]:
    return {one.key: storage.objects.get(FEEDBACK, one.key) for one in storage.objects.listing(FEEDBACK, "")}


def test_interrupted_commands_continue(own_store: Storage, tmp_path: Path) -> None:
    folder, before = tmp_path / "backup", content(many(own_store))
    killed_after_a_page(own_store, "backup", folder)
    assert "holds no complete backup" in segue(own_store, "backup", "--verify", folder, fails=True)
    assert "holds no complete backup" in segue(own_store, "restore", folder, fails=True)
    made = segue(own_store, "backup", folder)
    copied, kept = (int(part.split()[0]) for part in made.splitlines()[-1].split(", ")[:2])
    assert copied + kept == MANY
    assert kept >= 256
    new = wiped(own_store, tmp_path / "new.db")
    killed_after_a_page(new, "restore", folder)
    assert 0 < len(content(new)) < MANY
    segue(new, "restore", folder)
    assert content(new) == before
    new.close()


def test_a_second_backup_copies_only_changes(own_store: Storage, tmp_path: Path) -> None:
    folder, made = tmp_path / "backup", [submit(own_store) for _ in range(3)]
    segue(own_store, "backup", folder)
    own_store.objects.remove(UPLOADS, object_keys.upload(made[0].tenant, made[0].id))
    own_store.objects.put(FEEDBACK, "t/1", b"new", "text/plain")
    assert "1 objects copied (0.0 MB), 2 unchanged" in segue(own_store, "backup", folder)
    assert len(list((folder / "contents").glob("*/*"))) == 2  # equal photos are stored once


def damage(folder: Path) -> None:
    path = next((folder / "contents").glob("*/*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def damage_table(folder: Path) -> None:
    (folder / "tables" / "jobs.jsonl.gz").unlink()


@pytest.mark.parametrize("spoil", [damage, damage_table])
def test_a_damaged_backup_is_not_restored(own_store: Storage, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = tmp_path / "backup"
    submit(own_store)
    segue(own_store, "backup", folder)
    spoil(folder)
    assert "1 faults" in segue(own_store, "backup", "--verify", folder, fails=True)
    new = wiped(own_store, tmp_path / "new.db")
    assert "nothing restored: damaged" in segue(new, "restore", folder, fails=True)
    assert not list(new.objects.listing(UPLOADS, ""))
    new.close()


def test_an_installation_in_use_needs_force(own_store: Storage, tmp_path: Path) -> None:
    folder, made = tmp_path / "backup", submit(own_store)
    segue(own_store, "backup", folder)
    later = submit(own_store)
    refused = segue(own_store, "restore", folder, fails=True)
    assert "not empty (bucket uploads, jobs in Redis); --force" in refused
    own_store.objects.remove(UPLOADS, object_keys.upload(made.tenant, made.id))
    segue(own_store, "restore", "--force", folder)
    assert [job and job.status for job in own_store.jobs.get_many([made.id, later.id])] == [Status.QUEUED] * 2
