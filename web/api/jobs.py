"""The job routes: submit, status, events, cancel, retry and erase."""

import json
from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, after_this_request, g, jsonify, request

from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import Job, Spec, Status
from storage.problems import Problem, Unavailable
from storage.queue.answers import Cancellation
from storage.records.api_key import Scope
from storage.records.audit_event import Action
from storage.recovery import find
from storage.training import erasure
from web import request_log
from web.access.auditing import note
from web.access.auth import still_authorized
from web.access.caller import caller
from web.access.party import party_name
from web.api.masks import mask_response, vary_by_accept
from web.documents import error_document, job_document, polite_pause_s
from web.errors import answer, problem_response
from web.http.body import release_body
from web.idempotency import reserve, with_key
from web.lookup import find_job
from web.origin import origin
from web.preferences import preferred_wait, with_state
from web.quotas import check_quota
from web.rendering.formats import Format, preferred_to_document
from web.services import admission, connected, upload_turns, waiting
from web.streams import Event, Source, stream
from web.uploads import read_upload, to_spec
from web.waiting import end_of

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/v1/jobs")
def create() -> Response:
    """Accept one image. In this order: store the upload, enqueue the job, send a ticket, respond.

    A client that waits and prefers a mask format to JSON gets the mask itself, or the job's problem.
    """
    spec, replayed = _receive(connected())
    release_body()
    after_this_request(vary_by_accept)
    wait_s = preferred_wait()
    job = _awaited(spec.id, wait_s) or find_job(spec.id)
    # A mask needs the scope that GET needs.
    picture = preferred_to_document(request.accept_mimetypes) if caller().may(Scope.READ) else None
    ended = wait_s and job.status.final  # without a wait, the response must not depend on timing
    response = _picture(job, picture, wait_s) if ended and picture else _answer(job, wait_s)
    if not ended:
        response.status_code = 202
    response.headers["Location"] = f"{request.script_root}/v1/jobs/{job.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _awaited(job_id: str, wait_s: int) -> Job | None:
    """Wait until the job has ended. Reads no outlook, so it returns only an ended job."""
    if not wait_s:
        return None
    job = waiting().until(end_of(job_id), partial(connected().jobs.get, job_id), _ended, wait_s)
    return job if job and job.status.final else None


def _picture(job: Job, chosen: Format, wait_s: int) -> Response:
    """Return the mask of an ended job, or the problem that the job or the rendering ended with."""
    error = error_document(job, request.script_root)
    try:
        response = problem_response({**error, "request_id": g.request_id}) if error else mask_response(job, chosen)
    except Problem as problem:  # answered here, so that the client still learns where its job is
        response = answer(problem)
    response.headers["Preference-Applied"] = f"wait={wait_s}"
    return response


def _receive(storage: Storage) -> tuple[Spec, bool]:
    """Return the job's spec, and whether an earlier request with the same key was accepted.

    The photo is in memory until this returns.
    """
    upload = read_upload(request, storage.settings)
    storage.models.check(upload.options.model)
    with upload_turns().turn(party_name(), len(upload.content)):
        described = to_spec(upload, caller().tenant, origin(), storage.settings)
        spec, replayed = reserve(storage.jobs, with_key(described, described.sha256 + upload.options.model_dump_json()))
        if not replayed:
            _accept(storage, spec, upload.content)
    return spec, replayed


def _accept(storage: Storage, spec: Spec, content: bytes) -> None:
    try:
        check_quota(1, spec.bytes)
        admission().check()
        storage.objects.put_upload(spec, content)
    except (Problem, Unavailable):
        storage.jobs.idempotency.unreserve(spec)
        raise
    storage.tickets.send(storage.jobs.enqueue(spec, awaited=preferred_wait() > 0))
    request_log.accepted(spec)


@blueprint.get("/v1/jobs/<job_id>")
def status(job_id: str) -> Response:
    """Get the job; with `Prefer: wait=n`, wait until it has ended or differs from `If-None-Match`."""
    job, wait_s, known = find_job(job_id), preferred_wait(), request.if_none_match
    if wait_s and not job.status.final:
        key, settled = (job.id, lambda seen: not known.contains(_etag(seen))) if known else (end_of(job.id), _ended)
        job = waiting().until(key, _reader(job_id), settled, wait_s) or job
    return _answer(job, wait_s)


@blueprint.get("/v1/jobs/<job_id>/events")
def events(job_id: str) -> Response:
    """Stream the job as server-sent events: now, then after each change, until it has ended."""
    source = Source(job_id, _reader(job_id), partial(_event, request.script_root))
    return stream(waiting(), source, find_job(job_id), still_authorized())


def _event(root: str, job: Job) -> Event:
    return Event(_etag(job), f"job.{job.status}", json.dumps(job_document(job, root)), job.status.final)


def _reader(job_id: str) -> Callable[[], Job | None]:
    """Return a function that reads the job hash again. A stream calls it after the request's context has ended."""
    jobs = connected().jobs
    return lambda: jobs.look(job_id)[0]


def _ended(job: Job) -> bool:
    return job.status.final


@blueprint.post("/v1/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Cancel the job: a waiting one immediately, a running one before its next stage. It is idempotent."""
    storage, job = connected(), find_job(job_id)
    answer = lifecycle.cancel(storage.objects, storage.jobs, job)
    if answer not in (Status.CANCELED, Cancellation.MARKED):
        raise Problem("already_terminal", f"The job's status is {answer}.")
    response = _answer(find_job(job_id), 0)
    response.status_code = 202 if answer is Cancellation.MARKED else 200
    return response


@blueprint.post("/v1/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Retry a job that ended without a mask, under the same id and with a new deadline."""
    storage, job = connected(), find_job(job_id)
    if job.status in lifecycle.RETRYABLE:
        admission().check()
    if not lifecycle.retry(storage.objects, storage.jobs, job, storage.settings.deadline_s):
        raise Problem("not_retryable", f"The job is {job.status}.")
    storage.tickets.send(storage.jobs.tickets_missing())
    response = _answer(find_job(job_id), 0)
    response.status_code = 202
    return response


@blueprint.delete("/v1/jobs/<job_id>")
def erase(job_id: str) -> Response:
    """Erase the job: its photo, mask, training copies and record. Its id answers 410 for a while."""
    _check_erasable(job_id)
    storage = connected()
    if not lifecycle.erase(storage.objects, storage.jobs, caller().tenant, job_id):
        raise Problem("job_not_finished", _why_not_erased(job_id), 1)
    note(Action.JOB_ERASED, job_id)
    return Response(status=204)


def _why_not_erased(job_id: str) -> str:
    job = connected().jobs.get(job_id)
    if job and job.status.final:
        return "A worker is segmenting the photo with a newer model. It has been asked to stop: repeat the request."
    return "A worker is processing the job; cancel it first."


def _check_erasable(job_id: str) -> None:
    """Raise Problem for an unknown job, unless it is past its retention and was kept for training."""
    try:
        find_job(job_id)
    except Problem:
        if not keys.is_job_id(job_id) or not erasure.holds(connected().objects, caller().tenant, job_id):
            raise


def _answer(job: Job, wait_s: int) -> Response:
    """Return the job document; for an unfinished job with Retry-After."""
    newer = _newer(job)
    response = jsonify(job_document(job, request.script_root, newer))
    if not job.status.final:
        response.headers["Retry-After"] = str(polite_pause_s(job.eta_s))
    return with_state(response, f"{_etag(job)}-{newer}" if newer else _etag(job), wait_s)


def _newer(job: Job) -> str:
    """Return the id of the job's latest re-run if that has succeeded, else ""."""
    storage = connected()
    rerun = find(storage.objects, storage.jobs, job.spec.tenant, job.rerun) if job.rerun else None
    return rerun.id if rerun and rerun.status is Status.SUCCEEDED else ""


def _etag(job: Job) -> str:
    return str(job.revision)
