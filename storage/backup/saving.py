"""Copy all objects and rows into a folder, while jobs are accepted, run and end."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import IO

import uuid_utils

from storage import clock
from storage.backup import tables
from storage.backup.folder import FORMAT, Folder, Manifest, StoredObject, flush, line
from storage.connection import Storage
from storage.objects import BATCHES, DATASETS, FEEDBACK, MODELS, RENDERINGS, RESULTS, TRAINING, UPLOADS
from storage.records import schema
from storage.s3 import Listed

# An object is copied before those that it refers to, which were stored before it: so whatever a copied object
# refers to still exists when its turn comes, unless it has been erased.
ORDER = (RENDERINGS, FEEDBACK, TRAINING, DATASETS, BATCHES, RESULTS, UPLOADS, MODELS)
# In these buckets, some objects refer to others of the same bucket.
_REFERRING: Mapping[str, Callable[[str], bool]] = {
    TRAINING: lambda key: key.startswith("runs/"),
    DATASETS: lambda key: "/versions/" in key,
    MODELS: lambda key: "/" not in key,
}
THREADS, PAGE = 8, 256


@dataclass
class Progress:
    """`copied`, `size`: objects copied by this run, and their bytes; `kept`: those that the folder had already."""

    copied: int = 0
    size: int = 0
    kept: int = 0


def save(storage: Storage, folder: Folder, tell: Callable[[Progress], None]) -> Progress:
    """Make a complete backup, or continue an interrupted one. Objects that have not changed are not read again.

    The rows follow the objects. So a key that is revoked meanwhile stays revoked after a restore, and a job that is
    erased meanwhile is erased again by the housekeeper's comparison.
    """
    folder.make()
    progress, began_ms = Progress(), clock.now_ms()
    with folder.writing() as journal:
        objects = folder.write_objects(_copied(storage, folder, journal, progress, tell))
        saved = {}
        for name in tables.names():
            saved[name] = tables.save(storage.database, name, folder.new(folder.table_path(name)))
        revision, _ = schema.revision(storage.database)
        backup_id = f"bak_{uuid_utils.uuid7().hex}"
        folder.complete(Manifest(FORMAT, backup_id, began_ms, clock.now_ms(), revision, objects, saved))
    return progress


def _copied(
    storage: Storage, folder: Folder, journal: IO[bytes], progress: Progress, tell: Callable[[Progress], None]
) -> Iterator[StoredObject]:
    known = {(entry.bucket, entry.key): entry for entry in folder.known()}

    def take(place: tuple[str, Listed]) -> tuple[StoredObject | None, bool]:
        """The object's entry, None if it has been erased, and whether the folder had it already."""
        bucket, listed = place
        earlier = known.get((bucket, listed.key))
        if earlier and listed.etag and earlier.etag == listed.etag and folder.has(earlier):
            return earlier, True
        return _copy(storage, folder, bucket, listed.key), False

    places = _places(storage)
    with ThreadPoolExecutor(THREADS) as pool:
        while page := list(islice(places, PAGE)):
            for entry, had in pool.map(take, page):
                if entry is None:
                    continue
                if had:
                    progress.kept += 1
                else:
                    journal.write(line(entry))
                    progress.copied, progress.size = progress.copied + 1, progress.size + entry.size
                yield entry
            flush(journal)
            tell(progress)


def _places(storage: Storage) -> Iterator[tuple[str, Listed]]:
    for bucket in ORDER:
        refers = _REFERRING.get(bucket)
        if refers:
            yield from ((bucket, one) for one in storage.objects.listing(bucket, "") if refers(one.key))
        yield from ((bucket, one) for one in storage.objects.listing(bucket, "") if not (refers and refers(one.key)))


def _copy(storage: Storage, folder: Folder, bucket: str, key: str) -> StoredObject | None:
    """The ETag and the metadata are those of the content read, which may be newer than the listing's."""
    found = storage.objects.whole(bucket, key)
    if found is None:
        return None
    sha256 = folder.put(found.content)
    return StoredObject(
        bucket, key, found.etag, len(found.content), found.modified_ms, sha256, found.content_type, found.metadata
    )
