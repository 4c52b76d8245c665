"""What people say about masks. In the object store first, so that it outlives Redis and SQL:

feedback/{tenant}/{job_id}/{id}.json    what was said
feedback/{tenant}/{job_id}/{id}.png     the corrected mask, class ids as grey values
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from storage import keys
from storage.objects import FEEDBACK, MinioObjects
from storage.queue.jobs import RedisJobs

# What the one who consents has been told; it is kept with the consent, so a change of it changes no earlier one.
CONSENT = "This photo and its corrected mask may be kept and used to train better models, until I erase the job."


class Verdict(StrEnum):
    GOOD = "good"
    BAD = "bad"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class Feedback:
    """`model`: name/version that made the mask. `mask_key`: "" without a corrected mask. Time in ms UTC."""

    id: str
    job_id: str
    tenant: str
    verdict: Verdict
    note: str
    model: str
    mask_key: str
    consent_training: bool
    consent_wording: str
    created_ms: int


def store(objects: MinioObjects, jobs: RedisJobs, given: Feedback, mask: bytes | None) -> None:
    """Keep it: the mask, then what was said, then the word that there is something to record."""
    if mask is not None:
        objects.put(FEEDBACK, given.mask_key, mask, "image/png")
    key = keys.feedback(given.tenant, given.job_id, given.id, "json")
    objects.put(FEEDBACK, key, json.dumps(asdict(given)).encode(), "application/json")
    jobs.outbox.note(key)


def load(objects: MinioObjects, key: str) -> dict[str, Any] | None:
    """As a row of the records; None where it has been erased."""
    content = objects.get(FEEDBACK, key)
    return {**json.loads(content), "erased_ms": 0} if content else None


def erase(objects: MinioObjects, tenant: str, job_id: str) -> None:
    """Everything that was said about a job."""
    for listed in objects.listing(FEEDBACK, keys.feedback_of(tenant, job_id)):
        objects.remove(FEEDBACK, listed.key)


def id_of(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
