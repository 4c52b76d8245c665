"""Feedback about a mask: a verdict, a note, and optionally a corrected mask."""

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from storage import clock, feedback, keys, object_keys
from storage.feedback import CONSENT, Feedback, Verdict
from storage.job import Job
from storage.problems import Problem
from storage.training import reviews
from web.api.masks import mask_result
from web.corrections import corrected_mask, read_with_mask
from web.documents import timestamp
from web.lookup import find_job
from web.services import connected

LONGEST_NOTE = 2000

blueprint = Blueprint("feedback", __name__)


class Remark(BaseModel):
    """JSON, or form fields beside a corrected mask."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    note: str = Field(default="", max_length=LONGEST_NOTE)
    consent_training: bool = False


@blueprint.post("/v1/jobs/<job_id>/feedback")
def create(job_id: str) -> Response:
    """Rate a mask as good or bad, or send a corrected one. Erasing the job erases its feedback too."""
    storage, job = connected(), find_job(job_id)
    remark, sent = read_with_mask(Remark)
    if (remark.verdict is Verdict.CORRECTED) != (sent is not None):
        raise Problem(
            "invalid_request", "The verdict `corrected` requires a file in the field `mask`; other verdicts take none."
        )
    mask = None
    if sent is not None:
        mask = corrected_mask(sent, (job.spec.width, job.spec.height), mask_result(job)["classes"])
    given = _given(job, remark, mask is not None)
    feedback.store(storage.objects, storage.jobs, given, mask)
    if storage.objects.spec(job.spec.tenant, job.id) is None:  # erased in the meantime: leave nothing behind
        feedback.erase(storage.objects, job.spec.tenant, job.id)
        reviews.end_retention(storage.objects, storage.jobs, job.spec.tenant, job.id)
        raise Problem("gone", "The job was erased.")
    response = jsonify(_document(given))
    response.status_code = 201
    return response


def _given(job: Job, remark: Remark, with_mask: bool) -> Feedback:
    mask_result(job)  # raises Problem if the job has no mask
    model = job.outcome.model if job.outcome else None
    feedback_id, tenant = keys.new_feedback_id(), job.spec.tenant
    return Feedback(
        id=feedback_id,
        job_id=job.id,
        tenant=tenant,
        verdict=remark.verdict,
        note=remark.note,
        model=f"{model['name']}/{model['version']}" if model else "",
        mask_key=object_keys.feedback(tenant, job.id, feedback_id, "png") if with_mask else "",
        consent_training=remark.consent_training,
        consent_wording=CONSENT if remark.consent_training else "",
        created_ms=clock.now_ms(),
    )


def _document(given: Feedback) -> dict[str, object]:
    return {
        "id": given.id,
        "object": "feedback",
        "job_id": given.job_id,
        "verdict": given.verdict,
        "note": given.note,
        "corrected": bool(given.mask_key),
        "consent_training": given.consent_training,
        "consent_wording": given.consent_wording or None,
        "created_at": timestamp(given.created_ms),
    }
