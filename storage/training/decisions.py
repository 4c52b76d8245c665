"""Decisions on reviews: accept or reject. The last decision counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from storage import clock, object_keys
from storage.job import Job
from storage.objects import FEEDBACK, RESULTS, TRAINING, UPLOADS, MinioObjects
from storage.photos.class_ids import grey_png, served_ids
from storage.problems import Problem
from storage.queue.jobs import RedisJobs
from storage.recovery import find
from storage.result import ClassLabel, Result
from storage.training import erasure, reviews
from storage.training.reviews import DECISION, MASK, PHOTO, Decision, Review, Source, State, Subject

LOCKED_S = 60.0
# A job whose retention ends sooner is not accepted: the janitor could erase what is being copied.
MARGIN_MS = 2 * 60 * 1000


@dataclass(frozen=True)
class Chosen:
    """A mask for training: a PNG whose grey values or, as a worker stores it, palette indices are class ids."""

    content: bytes
    source: Source

    def grey(self) -> bytes:
        """The grey PNG of its class ids."""
        return grey_png(served_ids(self.content))


def open_review(objects: MinioObjects, tenant: str, job_id: str) -> Review:
    """The review of a job. Raises Problem `no_consent`."""
    review = reviews.load(objects, tenant, job_id)
    if review is None:
        raise Problem("no_consent", "The sender did not consent to the use of this photo for training.")
    return review


def subject_of(objects: MinioObjects, jobs: RedisJobs, review: Review) -> Subject:
    """What a mask of the job must fit. Raises Problem `gone` if the job was erased before it was accepted."""
    job = _job(objects, jobs, review)
    if job is None:
        if review.decision and review.decision.subject:
            return review.decision.subject
        raise erased()
    model = job.outcome.model if job.outcome else None
    labels: list[ClassLabel] = [
        {"id": entry["id"], "name": entry["name"], "color": entry["color"]} for entry in _result(job)["classes"]
    ]
    version = f"{model['name']}/{model['version']}" if model else ""
    return Subject(version, labels, job.spec.sha256, job.spec.width, job.spec.height)


def photo(objects: MinioObjects, review: Review) -> bytes:
    """The photo as sent: the copy, or else the upload. Raises Problem `gone`."""
    copied = objects.get(TRAINING, review.key(PHOTO)) if review.accepted else None
    content = copied or objects.get(UPLOADS, object_keys.upload(review.tenant, review.job_id))
    if content is None:
        raise erased()
    return content


def stored_mask(objects: MinioObjects, jobs: RedisJobs, review: Review) -> Chosen:
    """The accepted mask, or else the one that would be accepted: the sender's, or the model's.

    Raises Problem `gone`.
    """
    if review.decision and review.decision.source:
        content, source = objects.get(TRAINING, review.key(MASK)), review.decision.source
    elif review.consent and review.consent.mask_key:
        content, source = objects.get(FEEDBACK, review.consent.mask_key), Source.SENDER
    else:
        job = _job(objects, jobs, review)
        content, source = objects.get(RESULTS, job.result_key) if job else None, Source.MODEL
    if content is None:
        raise erased()
    return Chosen(content, source)


def accept(
    objects: MinioObjects, jobs: RedisJobs, seen: Review, *, mask: bytes, source: Source, by: str, note: str = ""
) -> Review:
    """Keep the photo and `mask`, a grey PNG of class ids, for training. Returns the decided review.

    The order is photo, mask, decision; a rejection is removed first, so that no photo is stored
    beside a rejection. If the job was erased meanwhile, everything written is removed again. Raises Problem.
    """
    with _alone(objects, jobs, seen) as review:
        subject = subject_of(objects, jobs, review)
        _check_margin(jobs, review)
        content = photo(objects, review)
        if review.state is State.REJECTED:
            objects.remove(TRAINING, review.key(DECISION))
        objects.put(TRAINING, review.key(PHOTO), content, "application/octet-stream")
        objects.put(TRAINING, review.key(MASK), mask, "image/png")
        decision = Decision(State.ACCEPTED, by, clock.now_ms(), note, source, subject)
        _decide(objects, jobs, review, decision)
        _check_erased(objects, jobs, review)
    return replace(review, decision=decision)


def reject(objects: MinioObjects, jobs: RedisJobs, seen: Review, *, by: str, note: str = "") -> Review:
    """Remove the review's copies, then record that the job is not used for training. Raises Problem.

    Data set versions keep the copies that they already have. If the job is past its retention, its
    review is removed too: only an accepted review outlives the upload.
    """
    with _alone(objects, jobs, seen) as review:
        decision = Decision(State.REJECTED, by, clock.now_ms(), note)
        for name in (PHOTO, MASK):
            objects.remove(TRAINING, review.key(name))
        _decide(objects, jobs, review, decision)
        if objects.spec(review.tenant, review.job_id) is None:
            reviews.remove(objects, jobs, review.tenant, review.job_id)
    return replace(review, decision=decision)


def erased() -> Problem:
    return Problem("gone", "The job was erased.")


def _decide(objects: MinioObjects, jobs: RedisJobs, review: Review, decision: Decision) -> None:
    reviews.put_document(objects, review.key(DECISION), decision)
    reviews.note(jobs, review.tenant, review.job_id)


@contextmanager
def _alone(objects: MinioObjects, jobs: RedisJobs, seen: Review) -> Iterator[Review]:
    """Yield the review as it is now; no other decision on it is stored meanwhile."""
    with jobs.locks.alone(f"training:{seen.job_id}", LOCKED_S) as chosen:
        if not chosen:
            raise Problem("unavailable", "Another decision on this job is being stored.", 1)
        yield open_review(objects, seen.tenant, seen.job_id)


def _check_margin(jobs: RedisJobs, review: Review) -> None:
    job = jobs.get(review.job_id)
    if job and not review.accepted and job.retained_until_ms < clock.now_ms() + MARGIN_MS:
        raise Problem("gone", "The job's retention is about to end.")


def _check_erased(objects: MinioObjects, jobs: RedisJobs, review: Review) -> None:
    """If the job was erased while it was accepted, leave nothing behind. Raises Problem."""
    owner = review.tenant, review.job_id
    folder = next(reviews.folders(objects, object_keys.reviews_of(*owner)), None)
    if jobs.erasing.marked(*owner) or folder is None or not {PHOTO, MASK, DECISION} <= folder.names.keys():
        erasure.erase(objects, jobs, *owner)
        raise erased()


def _job(objects: MinioObjects, jobs: RedisJobs, review: Review) -> Job | None:
    return find(objects, jobs, review.tenant, review.job_id)


def _result(job: Job) -> Result:
    if job.outcome is None or job.outcome.result is None:
        raise Problem("already_terminal", f"The job's status is {job.status}; it has no mask.")
    return job.outcome.result
