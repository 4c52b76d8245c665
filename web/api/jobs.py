"""One image and its fate."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from storage import Storage, keys, lifecycle
from storage.job import Job, Spec, Status
from storage.objects import RESULTS
from storage.problems import Problem, Unavailable
from storage.recovery import find
from web.auth import goes_on
from web.caller import caller
from web.connection import admission, connected, waiting
from web.documents import job_document, polite_pause_s
from web.formats import in_thread, overlay
from web.idempotency import keyed, reserved
from web.preferences import preferred_wait, with_state
from web.streams import Event, Source, stream
from web.uploads import read_upload, to_spec

DEFAULT_ALPHA = 0.55

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/v1/jobs")
def create() -> Response:
    """Accept one image: upload stored, then record and place in line, then ticket, then 202, in this order."""
    storage, upload = connected(), read_upload(request)
    storage.models.check(upload.options.model)
    described = to_spec(upload, caller().tenant, storage.settings)
    spec, replayed = reserved(storage.jobs, keyed(described, described.sha256 + upload.options.model_dump_json()))
    if not replayed:
        _accept(storage, spec, upload.content)
    wait_s = preferred_wait()
    job = waiting().until(spec.id, _reader(spec.id), _ended, wait_s) or find_job(spec.id)
    response = _answer(job, wait_s)
    # 200 only for an end that was waited for: without waiting it would come by chance.
    response.status_code = 200 if wait_s and job.status.final else 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _accept(storage: Storage, spec: Spec, content: bytes) -> None:
    try:
        admission().check()
        storage.objects.put_upload(spec, content)
    except (Problem, Unavailable):
        storage.jobs.unreserve(spec)
        raise
    storage.tickets.send(storage.jobs.enqueue(spec))


@blueprint.get("/v1/jobs/<job_id>")
def status(job_id: str) -> Response:
    """The job; with `Prefer: wait=n` as soon as it has ended, or differs from `If-None-Match`."""
    job, wait_s, known = find_job(job_id), preferred_wait(), request.if_none_match
    if wait_s and not job.status.final:
        settled = (lambda seen: not known.contains(_etag(seen))) if known else _ended
        job = waiting().until(job.id, _reader(job_id), settled, wait_s) or job
    return _answer(job, wait_s)


@blueprint.get("/v1/jobs/<job_id>/events")
def events(job_id: str) -> Response:
    """Server-sent events: the job now, then each of its changes, until it has ended."""
    return stream(waiting(), Source(job_id, _reader(job_id), _event), find_job(job_id), goes_on())


def _event(job: Job) -> Event:
    return Event(_etag(job), f"job.{job.status}", json.dumps(job_document(job)), job.status.final)


def _reader(job_id: str) -> Callable[[], Job | None]:
    """Reads the record anew, also outside of the request: a stream outlives it."""
    jobs = connected().jobs
    return lambda: jobs.look(job_id)[0]


def _ended(job: Job) -> bool:
    return job.status.final


@blueprint.post("/v1/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """End it without a mask: at once while it waits, else before its next stage. Repeated, it answers the same."""
    storage, job = connected(), find_job(job_id)
    answer = lifecycle.cancel(storage.objects, storage.jobs, job)
    if answer not in (Status.CANCELED, "marked"):
        raise Problem("already_terminal", f"The job ended as {answer}.")
    response = _answer(find_job(job_id), 0)
    response.status_code = 202 if answer == "marked" else 200
    return response


@blueprint.post("/v1/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Another attempt for a job that ended without a mask, under its id and with a new deadline."""
    storage, job = connected(), find_job(job_id)
    if not lifecycle.retry(storage.objects, storage.jobs, job, storage.settings.deadline_s):
        raise Problem("not_retryable", f"The job is {job.status}.")
    storage.tickets.send(storage.jobs.tickets_missing())
    response = _answer(find_job(job_id), 0)
    response.status_code = 202
    return response


@blueprint.delete("/v1/jobs/<job_id>")
def erase(job_id: str) -> Response:
    """Remove photo, mask and record; the id answers 410 for a while."""
    storage, job = connected(), find_job(job_id)
    if not lifecycle.erase(storage.objects, storage.jobs, job.spec.tenant, job.id):
        raise Problem("job_not_finished", "A worker has it: cancel it first.", 1)
    return Response(status=204)


@blueprint.get("/v1/jobs/<job_id>/mask")
def mask(job_id: str) -> Response:
    """The stored palette PNG (`format=index`), or the photo under its colours (`format=overlay`, `alpha=0..1`)."""
    job = find_job(job_id)
    wanted, alpha = request.args.get("format", "index"), _alpha()
    if wanted not in ("index", "overlay"):
        raise Problem("invalid_request", "format: one of index, overlay.")
    result = mask_result(job)
    etag = result["sha256"] if wanted == "index" else f"{result['sha256']}-overlay-{alpha}"
    if request.if_none_match.contains(etag):
        response = Response(status=304)
    else:
        response = _index(job) if wanted == "index" else _overlay(job, alpha)
    response.set_etag(etag)
    response.headers["Cache-Control"] = "private, immutable, max-age=86400"
    return response


def _index(job: Job) -> Response:
    content = _mask_png(job)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return Response(content, content_type="image/png", headers={"Repr-Digest": f"sha-256=:{digest}:"})


def _overlay(job: Job, alpha: float) -> Response:
    storage = connected()
    photo = storage.objects.get_upload(job.spec)
    if photo is None:
        raise Problem("gone", "The photo is not stored any more.")
    names = [entry["name"] for entry in mask_result(job)["classes"]]
    rendered = in_thread(overlay, photo, _mask_png(job), names, alpha, storage.settings)
    return Response(rendered, content_type="image/jpeg")


def _mask_png(job: Job) -> bytes:
    content = connected().objects.get(RESULTS, job.result_key)
    if content is None:
        raise Problem("gone", "The mask is not stored any more.")
    return content


def mask_result(job: Job) -> dict[str, Any]:
    """What is told about the mask. Raises Problem while there is none."""
    if not job.status.final:
        pause_s = polite_pause_s(job.outlook.eta_s if job.outlook else None)
        raise Problem("job_not_finished", "Ask again later.", pause_s)
    if job.outcome is None or job.outcome.result is None:
        raise Problem("already_terminal", f"The job ended as {job.status}: its `error` says why.")
    return job.outcome.result


def _alpha() -> float:
    try:
        alpha = float(request.args.get("alpha", DEFAULT_ALPHA))
    except ValueError:
        alpha = -1
    if not 0 <= alpha <= 1:
        raise Problem("invalid_request", "alpha: a number from 0 to 1.")
    return alpha


def find_job(job_id: str) -> Job:
    """The job, also if Redis has lost it. Raises Problem `not_found` or, while it is remembered, `gone`."""
    storage = connected()
    if not keys.is_job_id(job_id):
        raise Problem("not_found", "There is no such job.")
    job = find(storage.objects, storage.jobs, caller().tenant, job_id)
    if job is None and storage.jobs.gone(job_id) == caller().tenant:
        raise Problem("gone", "The job was erased.")
    if job is None:
        raise Problem("not_found", "There is no such job.")
    return job


def _answer(job: Job, wait_s: int) -> Response:
    """An unfinished job's answer says when to ask again."""
    response = jsonify(job_document(job))
    if not job.status.final:
        response.headers["Retry-After"] = str(polite_pause_s(job.outlook.eta_s if job.outlook else None))
    return with_state(response, _etag(job), wait_s)


def _etag(job: Job) -> str:
    return str(job.revision)
