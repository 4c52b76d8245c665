"""Feedback about a mask: a verdict, a note, and optionally a corrected mask."""

import io

from flask import Blueprint, Response, jsonify, request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage import clock, feedback, keys
from storage.feedback import CONSENT, Feedback, Verdict
from storage.job import Job
from storage.photos.photo import decode_mask, read_header
from storage.problems import Problem
from storage.settings import Settings
from web.api.masks import mask_result
from web.documents import timestamp
from web.errors import invalid
from web.lookup import find_job
from web.rendering.class_ids import class_ids
from web.rendering.work import client, corrected_bytes
from web.services import connected
from web.threads import in_thread

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
    remark, sent = _read()
    if (remark.verdict is Verdict.CORRECTED) != (sent is not None):
        raise Problem(
            "invalid_request", "The verdict `corrected` requires a file in the field `mask`; other verdicts take none."
        )
    mask = _corrected(sent, job) if sent is not None else None
    given = _given(job, remark, mask is not None)
    feedback.store(storage.objects, storage.jobs, given, mask)
    if storage.jobs.get(job.id) is None:  # erased in the meantime: leave nothing behind
        feedback.erase(storage.objects, job.spec.tenant, job.id)
        raise Problem("gone", "The job was erased.")
    response = jsonify(_document(given))
    response.status_code = 201
    return response


def _read() -> tuple[Remark, bytes | None]:
    try:
        if request.mimetype == "application/json":
            return Remark.model_validate_json(request.get_data()), None
        if request.mimetype != "multipart/form-data":
            raise Problem("unsupported_media_type", "Send application/json, or multipart/form-data with a `mask`.")
        files = list(request.files.items(multi=True))
        if [name for name, _ in files] != ["mask"] or len(list(request.form.items(multi=True))) != len(request.form):
            raise Problem("invalid_request", "Send one file, in the field `mask`, and each other field once.")
        content = files[0][1].stream.read()
        files[0][1].close()
        return Remark.model_validate(request.form.to_dict()), content
    except ValidationError as error:
        raise invalid(error) from error


def _corrected(sent: bytes, job: Job) -> bytes:
    """Decode a corrected mask in the caller's turn, if its pixel count equals the photo's. Raises Problem."""
    settings = connected().settings
    header = read_header(sent, settings)
    if header.width * header.height != job.spec.width * job.spec.height:
        raise _wrong_size(header.width, header.height, job)
    with client().turn(corrected_bytes(job.spec)):
        return in_thread(corrected, sent, job, settings)


def corrected(content: bytes, job: Job, settings: Settings) -> bytes:
    """Return the sent mask as a grey PNG of class ids. Raises Problem if it does not fit the job's photo."""
    mask = decode_mask(content, settings)
    if mask.size != (job.spec.width, job.spec.height):
        raise _wrong_size(*mask.size, job)
    return _png(class_ids(mask, mask_result(job)["classes"]))


def _wrong_size(width: int, height: int, job: Job) -> Problem:
    sent, wanted = f"{width} x {height}", f"{job.spec.width} x {job.spec.height}"
    return Problem("unprocessable_image", f"The mask has {sent} pixels, the photo {wanted}.")


def _png(ids: Image.Image) -> bytes:
    """Encode the ids as a new PNG, without the metadata of the sent file."""
    buffer = io.BytesIO()
    ids.save(buffer, "PNG")
    return buffer.getvalue()


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
        mask_key=keys.feedback(tenant, job.id, feedback_id, "png") if with_mask else "",
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
