"""Users' feedback on masks. The object store has it first, so it survives a loss of Redis or SQL:

feedback/{tenant}/{job_id}/{id}.json    the feedback
feedback/{tenant}/{job_id}/{id}.png     the corrected mask, class ids as grey values
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from storage import object_keys
from storage.objects import FEEDBACK, MinioObjects
from storage.queue.jobs import RedisJobs
from storage.training import reviews
from storage.training.reviews import Consent

# The text users agree to. It is stored with each consent, so a new wording leaves earlier ones as they are.
CONSENT = "This photo and its corrected mask may be kept and used to train better models, until I erase the job."


class Verdict(StrEnum):
    GOOD = "good"
    BAD = "bad"
    CORRECTED = "corrected"


@dataclass(frozen=True)
class Feedback:
    """`model`: the name/version that made the mask.

    `mask_key`: "" without a corrected mask. Time in ms UTC.
    """

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

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> "Feedback":
        """From parsed JSON or a row of SQL. Ignores unknown fields, which a newer version may have stored."""
        known = {one.name: given[one.name] for one in fields(cls)}
        return cls(**{**known, "verdict": Verdict(given["verdict"])})


def store(objects: MinioObjects, jobs: RedisJobs, given: Feedback, mask: bytes | None) -> None:
    """Store the mask, then the feedback, then queue the feedback for the SQL records. A running rollout counts it.

    With a consent, the job enters the review inbox.
    """
    if mask is not None:
        objects.put(FEEDBACK, given.mask_key, mask, "image/png")
    key = object_keys.feedback(given.tenant, given.job_id, given.id, "json")
    objects.put(FEEDBACK, key, json.dumps(asdict(given)).encode(), "application/json")
    jobs.outbox.note(key)
    if given.verdict is not Verdict.GOOD:
        jobs.judge(given.job_id)
    if given.consent_training:
        consent = Consent(given.id, given.verdict, given.model, given.mask_key, given.consent_wording, given.created_ms)
        reviews.store_consent(objects, jobs, given.tenant, given.job_id, consent)


def load(objects: MinioObjects, key: str) -> Feedback | None:
    """None if it was erased."""
    content = objects.get(FEEDBACK, key)
    return None if content is None else Feedback.from_fields(json.loads(content))


def erase(objects: MinioObjects, tenant: str, job_id: str) -> None:
    """Erase all feedback on a job."""
    for listed in objects.listing(FEEDBACK, object_keys.feedback_of(tenant, job_id)):
        objects.remove(FEEDBACK, listed.key)


def id_of(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
