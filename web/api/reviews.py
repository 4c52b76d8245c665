"""The review inbox: jobs whose senders consented to training, of every tenant. Requires the scope `admin`."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from storage import keys
from storage.photos.photo import read_header
from storage.problems import Problem
from storage.records.audit_event import Action
from storage.records.review_cursor import Cursor
from storage.training import decisions, reviews
from storage.training.reviews import Review, Source, State, Subject
from web import parsing
from web.access.auditing import note
from web.access.caller import caller
from web.api.feedback import LONGEST_NOTE
from web.api.records import DEFAULT_PAGE, LONGEST_PAGE
from web.corrections import corrected_mask, read_with_mask
from web.documents import timestamp
from web.rendering import renderings
from web.rendering.work import OF_MASK, photo_bytes, rendering
from web.services import connected
from web.sql_timeout import within_timeout
from web.threads import in_thread

blueprint = Blueprint("reviews", __name__, url_prefix="/v1/training/inbox")


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: State = State.WAITING
    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = DEFAULT_PAGE
    cursor: str | None = None


class Judgement(BaseModel):
    """The JSON body, or the form fields beside a corrected mask."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["accept", "reject"]
    note: str = Field(default="", max_length=LONGEST_NOTE)


@blueprint.get("")
def listing() -> Response:
    """List the reviews in a state, the highest priority first, in pages."""
    query = parsing.query(Query)
    try:
        after = Cursor.parse(query.cursor) if query.cursor is not None else None
    except ValueError as error:
        raise Problem("invalid_request", "cursor: use the next_cursor of the previous page.") from error
    rows, following = within_timeout(lambda: connected().reviews.page(query.state, query.limit, after))
    cursor = str(following) if following else None
    response = jsonify(object="list", data=[_summary(row) for row in rows], next_cursor=cursor)
    if cursor:
        asked = {**request.args.to_dict(), "cursor": cursor}
        response.headers["Link"] = f'<{request.script_root}{blueprint.url_prefix}?{urlencode(asked)}>; rel="next"'
    return response


@blueprint.get("/<job_id>")
def review(job_id: str) -> Response:
    """Get a review: its scores, the sender's verdict, the decision, and what a mask must fit."""
    found = _find(job_id)
    return jsonify(_document(found, _subject(found)))


@blueprint.get("/<job_id>/photo")
def photo(job_id: str) -> Response:
    """Get the photo, upright and re-encoded: only its pixels, without the metadata of the upload."""
    found, settings = _find(job_id), connected().settings
    content = decisions.photo(connected().objects, found)
    with rendering(photo_bytes(read_header(content, settings))):
        return Response(in_thread(renderings.image, content, settings), content_type="image/jpeg")


@blueprint.get("/<job_id>/mask")
def mask(job_id: str) -> Response:
    """Get the accepted mask, or else the one that would be accepted, as a grey PNG of class ids."""
    found = _find(job_id)
    return Response(_grey_mask(found, _subject(found))[0], content_type="image/png")


@blueprint.post("/<job_id>/decision")
def decide(job_id: str) -> Response:
    """Accept or reject a job for training; a form with a `mask` accepts that mask. The last decision counts."""
    storage, found = connected(), _find(job_id)
    judgement, sent = read_with_mask(Judgement)
    if judgement.decision == "reject":
        if sent is not None:
            raise Problem("invalid_request", "A rejection takes no `mask`.")
        decided = decisions.reject(storage.objects, storage.jobs, found, by=caller().name, note=judgement.note)
        note(Action.REVIEW_REJECTED, job_id, found.tenant)
        return jsonify(_document(decided, None))
    subject = _subject(found)
    if sent is not None:
        ids, source = corrected_mask(sent, subject.size, subject.labels), Source.REVIEWER
    else:
        ids, source = _grey_mask(found, subject)
    decided = decisions.accept(
        storage.objects, storage.jobs, found, mask=ids, source=source, by=caller().name, note=judgement.note
    )
    note(Action.REVIEW_ACCEPTED, job_id, found.tenant)
    return jsonify(_document(decided, subject))


def _find(job_id: str) -> Review:
    """Return the review of any tenant's job. Raises Problem `not_found` or `no_consent`."""
    storage = connected()
    if not keys.is_job_id(job_id):
        raise Problem("not_found", "No job has this id.")
    job = storage.jobs.get(job_id)
    tenant = job.spec.tenant if job else within_timeout(lambda: storage.reviews.tenant(job_id))
    if tenant is None:
        raise Problem("not_found", "No job has this id.")
    if tenant != caller().tenant:
        note(Action.JOB_READ, job_id, tenant)
    return decisions.open_review(storage.objects, tenant, job_id)


def _subject(found: Review) -> Subject:
    return decisions.subject_of(connected().objects, connected().jobs, found)


def _grey_mask(found: Review, subject: Subject) -> tuple[bytes, Source]:
    chosen = decisions.stored_mask(connected().objects, connected().jobs, found)
    with rendering(subject.width * subject.height * OF_MASK):
        return in_thread(chosen.grey), chosen.source


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    path = f"{request.script_root}{blueprint.url_prefix}/{row['job_id']}"
    return {
        "job_id": row["job_id"],
        "object": "review",
        "tenant": row["tenant"],
        "state": row["state"],
        "priority": row["priority"],
        "scores": row["scores"],
        "model": row["model"],
        "verdict": row["verdict"] or None,
        "consented_at": timestamp(row["consent_ms"]),
        "decided_by": row["decided_by"] or None,
        "decided_at": timestamp(row["decided_ms"]),
        "note": row["note"],
        "links": {"self": path, **{name: f"{path}/{name}" for name in ("photo", "mask", "decision")}},
    }


def _document(found: Review, subject: Subject | None) -> dict[str, Any]:
    """`subject`: None for a rejected job."""
    decision, consent = found.decision, found.consent
    return {
        **_summary(reviews.row(found)),
        "consent_wording": consent.wording if consent else None,
        "corrected": bool(consent and consent.mask_key),
        "mask_source": decision.source if decision else None,
        "width": subject.width if subject else None,
        "height": subject.height if subject else None,
        "labels": subject.labels if subject else [],
    }
