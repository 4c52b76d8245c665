"""A cache of renderings in the object store: renderings/{tenant}/{job_id}/{digest}.

Every rendering can be made again, so losing one only costs time. They are erased with their job.
"""

import hashlib
import logging

from storage import object_keys
from storage.job import Job
from storage.objects import RENDERINGS, MinioObjects
from storage.problems import Unavailable

MOST_PER_JOB = 8  # without a limit, one caller could fill the store by varying the parameters
MOST_BYTES = 4 * 1024 * 1024

log = logging.getLogger(__name__)


def load(objects: MinioObjects, job: Job, etag: str) -> bytes | None:
    return objects.get(RENDERINGS, _key(job, etag))


def keep(objects: MinioObjects, job: Job, etag: str, content: bytes, content_type: str) -> None:
    """Store a rendering, unless it is too large or the job has MOST_PER_JOB.

    Logs an outage of the store.
    """
    if len(content) > MOST_BYTES:
        return
    try:
        of_job = objects.listing(RENDERINGS, object_keys.renderings_of(job.spec.tenant, job.id))
        if sum(1 for _ in of_job) < MOST_PER_JOB:
            objects.put(RENDERINGS, _key(job, etag), content, content_type)
    except Unavailable as error:
        log.warning("rendering_not_kept", extra={**job.spec.log_fields, "error": str(error)})


def erase(objects: MinioObjects, tenant: str, job_id: str) -> None:
    for listed in objects.listing(RENDERINGS, object_keys.renderings_of(tenant, job_id)):
        objects.remove(RENDERINGS, listed.key)


def _key(job: Job, etag: str) -> str:
    """Hash the ETag, which may be too long for a key.

    It names the format, its parameters and the digest of the source.
    """
    return object_keys.renderings_of(job.spec.tenant, job.id) + hashlib.sha256(etag.encode()).hexdigest()[:32]
