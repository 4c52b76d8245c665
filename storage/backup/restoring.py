"""Write a backup into an empty installation. Redis is rebuilt from the objects afterwards."""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from storage import keys, object_keys
from storage.backup import tables
from storage.backup.folder import BackupError, Folder, StoredObject
from storage.backup.saving import PAGE, THREADS
from storage.connection import Storage
from storage.objects import BATCHES, DATASETS, FEEDBACK, MODELS, RENDERINGS, RESULTS, TRAINING, UPLOADS
from storage.records import schema
from storage.records.tables import RETIRED

# An upload makes a job exist, so it follows everything that belongs to the job.
ORDER = (MODELS, DATASETS, TRAINING, FEEDBACK, RENDERINGS, BATCHES, RESULTS, UPLOADS)
MARK = "restoring"  # in the bucket of the models, while a restore is under way: the backup's id


def restore(storage: Storage, folder: Folder, force: bool, tell: Callable[[int], None]) -> int:
    """Return the number of objects in the backup. No other process of Segue may run.

    If it is interrupted, another call continues. `force`: also write into an installation that has jobs; then objects
    and rows that the backup lacks stay, the others are overwritten. Raises BackupError before it changes anything if
    the backup is damaged or too new, or the installation is in use.
    """
    manifest = folder.manifest()
    if manifest.revision and not schema.is_known(manifest.revision):
        raise BackupError(f"the backup is from a newer version: its migration {manifest.revision} is unknown here")
    if fault := next(folder.faults(), None):
        raise BackupError(f"nothing restored: {fault}. `segue backup --verify` lists everything that is damaged.")
    storage.objects.make_buckets()
    schema.migrate(storage.database)
    if not force:
        _refuse_in_use(storage, manifest.id)
    storage.objects.put(MODELS, MARK, manifest.id.encode(), "text/plain")
    _forget_redis(storage)
    done = _write_objects(storage, folder, tell)
    for name in (name for name in manifest.tables if name not in RETIRED):
        tables.load(storage.database, name, folder.table_path(name))
    storage.objects.remove(MODELS, MARK)
    return done


def _refuse_in_use(storage: Storage, backup_id: str) -> None:
    if storage.objects.get(MODELS, MARK) == backup_id.encode():  # this restore was interrupted
        return
    used = [f"bucket {name}" for name in ORDER if name != MODELS and any(storage.objects.listing(name, ""))]
    used += [f"table {name}" for name in tables.in_use(storage.database)]
    if storage.jobs.client.exists(keys.OPEN, keys.RETAINED):
        used.append("jobs in Redis")
    if used:
        raise BackupError(f"the installation is not empty ({', '.join(used)}); --force restores nevertheless")


def _forget_redis(storage: Storage) -> None:
    """Delete what Redis knows, so that it is rebuilt from the objects. Its functions stay."""
    client = storage.jobs.client
    for name in client.scan_iter(f"{keys.PREFIX}*", count=1000):
        if name != keys.FUNCTIONS:
            client.delete(name)


def _write_objects(storage: Storage, folder: Folder, tell: Callable[[int], None]) -> int:
    done, entries = 0, defaultdict[str, list[StoredObject]](list)
    for entry in folder.entries():
        entries[entry.bucket].append(entry)
    entries[RESULTS] = _deciding(entries[RESULTS])
    with ThreadPoolExecutor(THREADS) as pool:
        for bucket in ORDER:
            there = {listed.key: listed.etag for listed in storage.objects.listing(bucket, "")}
            chosen = iter(entries[bucket])
            while page := list(islice(chosen, PAGE)):
                done += sum(pool.map(lambda entry: _write(storage, folder, entry, there.get(entry.key)), page))  # noqa: B023
                tell(done)
    return done


def _deciding(entries: list[StoredObject]) -> list[StoredObject]:
    """Of each job's results the oldest, which decides how the job ended.

    A lost attempt may have left another. It must not be restored, because all restored objects are equally old. See
    `storage.objects.MinioObjects.results` for the order.
    """
    oldest: dict[keys.Owner | str, StoredObject] = {}
    for entry in sorted(entries, key=lambda entry: entry.key, reverse=True):
        job = object_keys.owner(entry.key) or entry.key
        if job not in oldest or entry.modified_ms < oldest[job].modified_ms:
            oldest[job] = entry
    return list(oldest.values())


def _write(storage: Storage, folder: Folder, entry: StoredObject, etag: str | None) -> int:
    """On most stores, the ETag of a small object is its MD5. So a repeated call skips what is there already."""
    content = folder.content(entry)
    if etag != hashlib.md5(content, usedforsecurity=False).hexdigest():
        storage.objects.put(entry.bucket, entry.key, content, entry.content_type, entry.metadata)
    return 1
