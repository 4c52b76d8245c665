"""Erase what the learning loop keeps of a job."""

from itertools import chain

from storage import object_keys
from storage.keys import Owner
from storage.objects import DATASETS, TRAINING, MinioObjects
from storage.queue.jobs import RedisJobs
from storage.s3 import Listed
from storage.training import reviews

COMPLETED_AFTER_MS = 3600 * 1000


def erase(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Erase the job's review, then its items in every data set.

    In this order no build copies the photo again, because a build reads the review after it has
    written an item. The job must be marked already (storage/queue/erasing.py).
    """
    reviews.remove(objects, jobs, tenant, job_id)
    for listed in _items(objects, tenant, job_id):
        objects.remove(DATASETS, listed.key)


def holds(objects: MinioObjects, tenant: str, job_id: str) -> bool:
    """Whether the learning loop has anything of the job."""
    kept = chain(objects.listing(TRAINING, object_keys.reviews_of(tenant, job_id)), _items(objects, tenant, job_id))
    return any(True for _ in kept)


def complete(objects: MinioObjects, jobs: RedisJobs, after_ms: int = COMPLETED_AFTER_MS) -> list[Owner]:
    """Erase once more, and unmark, the jobs that were marked at least `after_ms` ago.

    This completes an interrupted erasure. Returns the jobs.
    """
    owners = jobs.erasing.since(after_ms)
    for owner in owners:
        erase(objects, jobs, *owner)
        jobs.erasing.unmark(*owner)
    return owners


def _items(objects: MinioObjects, tenant: str, job_id: str) -> list[Listed]:
    names = sorted(objects.folders(DATASETS))
    prefixes = (object_keys.dataset_items(name, tenant, job_id) for name in names)
    return [listed for prefix in prefixes for listed in objects.listing(DATASETS, prefix)]
