"""The review of a job whose sender consented to training. The object store has it first:

reviews/{tenant}/{job_id}/consent.json     the consent, from the latest feedback that gives one
                          scores.json      how much reviewing the job is worth, and why
                          decision.json    accepted or rejected, by whom and when
                          photo            the upload's bytes, as sent
                          mask.png         class ids as grey values, at the size of the upright photo

A job with a consent is in the review inbox. Only an accepted one has a photo and a mask; they are
copies, because the upload is erased at the end of the job's retention.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from storage import object_keys
from storage.keys import Owner
from storage.objects import TRAINING, MinioObjects
from storage.queue.jobs import RedisJobs
from storage.result import ClassLabel

CONSENT, SCORES, DECISION, PHOTO, MASK = "consent.json", "scores.json", "decision.json", "photo", "mask.png"


class State(StrEnum):
    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Source(StrEnum):
    """Where an accepted mask comes from."""

    MODEL = "model"
    SENDER = "sender"  # corrected in the feedback
    REVIEWER = "reviewer"  # corrected in the review


@dataclass(frozen=True)
class Consent:
    """`model`: the name/version of the served mask. `mask_key`: of the sender's correction, or ""."""

    feedback_id: str
    verdict: str
    model: str
    mask_key: str
    wording: str
    given_ms: int


@dataclass(frozen=True)
class Scores:
    """`priority`: 0 to 1, orders the inbox. `parts`: what it is computed from (learning/review/measures.py).

    `sketch`: the statistics of photo and mask that later jobs are compared with.
    """

    priority: float
    parts: dict[str, float | None]
    sketch: dict[str, float]
    model: str
    scored_ms: int


@dataclass(frozen=True)
class Subject:
    """What a mask of the job must fit: the classes (id, name, color) and the size of the upright photo."""

    model: str
    labels: list[ClassLabel]
    sha256: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True)
class Decision:
    """`source`, `subject`: of the accepted mask; None for a rejected job."""

    state: State
    by: str
    decided_ms: int
    note: str = ""
    source: Source | None = None
    subject: Subject | None = None


@dataclass(frozen=True)
class Review:
    tenant: str
    job_id: str
    consent: Consent | None
    scores: Scores | None = None
    decision: Decision | None = None

    @property
    def state(self) -> State:
        return self.decision.state if self.decision else State.WAITING

    @property
    def accepted(self) -> bool:
        return self.state is State.ACCEPTED

    def key(self, name: str) -> str:
        return object_keys.review(self.tenant, self.job_id, name)


@dataclass
class Folder:
    """The names below a review's prefix, each with the time of its last write in ms UTC."""

    owner: Owner
    names: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The same state as `load` finds, because no photo is stored beside a rejection."""
        if DECISION not in self.names:
            return State.WAITING
        return State.ACCEPTED if PHOTO in self.names else State.REJECTED

    @property
    def scored(self) -> bool:
        return SCORES in self.names


def store_consent(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str, consent: Consent) -> None:
    put_document(objects, object_keys.review(tenant, job_id, CONSENT), consent)
    note(jobs, tenant, job_id)


def put_document(objects: MinioObjects, key: str, document: Consent | Scores | Decision) -> None:
    objects.put(TRAINING, key, json.dumps(asdict(document)).encode(), "application/json")


def note(jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Queue the review for the SQL records."""
    jobs.outbox.note(object_keys.reviews_of(tenant, job_id))


def load(objects: MinioObjects, tenant: str, job_id: str) -> Review | None:
    """The review of a job; None if the job has neither a consent nor a decision."""
    consent, scores, decision = (
        _document(objects, object_keys.review(tenant, job_id, name)) for name in (CONSENT, SCORES, DECISION)
    )
    if consent is None and decision is None:
        return None
    review = Review(
        tenant,
        job_id,
        Consent(**consent) if consent else None,
        Scores(**scores) if scores else None,
        _decision(decision) if decision else None,
    )
    if review.decision and review.accepted and objects.metadata(TRAINING, review.key(PHOTO), "") is None:
        # A rejection removes the photo first, and was interrupted.
        return replace(review, decision=replace(review.decision, state=State.REJECTED, source=None, subject=None))
    return review


def accepted(objects: MinioObjects) -> Iterator[Review]:
    """All accepted reviews. Their photo and mask are the objects `key(PHOTO)` and `key(MASK)` in TRAINING."""
    for folder in folders(objects):
        if folder.state is State.ACCEPTED:
            review = load(objects, *folder.owner)
            if review and review.accepted:
                yield review


def folders(objects: MinioObjects, prefix: str = "reviews/") -> Iterator[Folder]:
    """All reviews, or those below a prefix. Listed in the order of their keys, so a folder's are together."""
    current: Folder | None = None
    for listed in objects.listing(TRAINING, prefix):
        owner = object_keys.reviewed(listed.key)
        if owner is None:
            continue
        if current is None or current.owner != owner:
            if current:
                yield current
            current = Folder(owner)
        current.names[listed.key.rpartition("/")[2]] = listed.modified_ms
    if current:
        yield current


def remove(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Remove everything of a review."""
    for listed in objects.listing(TRAINING, object_keys.reviews_of(tenant, job_id)):
        objects.remove(TRAINING, listed.key)
    note(jobs, tenant, job_id)


def end_retention(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Remove a review unless it is accepted: its sender agreed that photo and mask are kept."""
    folder = next(folders(objects, object_keys.reviews_of(tenant, job_id)), None)
    if folder and folder.state is not State.ACCEPTED:
        remove(objects, jobs, tenant, job_id)


def row(review: Review) -> dict[str, Any]:
    """A row of the SQL table."""
    scores, decision, consent = review.scores, review.decision, review.consent
    subject = decision.subject if decision else None
    return {
        "job_id": review.job_id,
        "tenant": review.tenant,
        "state": review.state,
        "priority": scores.priority if scores else 0.0,
        "scores": scores.parts if scores else None,
        "model": subject.model if subject else (consent.model if consent else ""),
        "verdict": consent.verdict if consent else "",
        "consent_ms": consent.given_ms if consent else 0,
        "decided_by": decision.by if decision else "",
        "decided_ms": decision.decided_ms if decision else 0,
        "note": decision.note if decision else "",
    }


def _document(objects: MinioObjects, key: str) -> dict[str, Any] | None:
    content = objects.get(TRAINING, key)
    return json.loads(content) if content else None


def _decision(fields: Mapping[str, Any]) -> Decision:
    source, subject = fields["source"], fields["subject"]
    return Decision(
        **{
            **fields,
            "state": State(fields["state"]),
            "source": Source(source) if source else None,
            "subject": Subject(**subject) if subject else None,
        }
    )
