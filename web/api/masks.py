"""The pictures of a job: its mask in each format, and the photo."""

import base64
import hashlib
from collections.abc import Callable

from flask import Blueprint, Response, after_this_request, request

from storage import object_keys
from storage.job import Job
from storage.objects import RESULTS, UPLOADS
from storage.problems import Problem
from storage.result import Result
from web.documents import polite_pause_s
from web.filenames import content_disposition
from web.lookup import find_job
from web.rendering import renderings
from web.rendering.cache import Request, rendered
from web.rendering.formats import STORED, Choice, Format, Source, wanted
from web.rendering.parameters import choice, tag
from web.rendering.work import mask_bytes, photo_bytes
from web.services import connected
from web.threads import in_thread

blueprint = Blueprint("masks", __name__)


@blueprint.get("/v1/jobs/<job_id>/mask")
def mask(job_id: str) -> Response:
    """Get the mask in the format that `format=` names, or in the one that `Accept` prefers."""
    job = find_job(job_id)
    after_this_request(vary_by_accept)
    return mask_response(job, wanted(request.args.get("format"), request.accept_mimetypes))


def mask_response(job: Job, named: Format) -> Response:
    """Return the mask in this format. Raises Problem if the job has none."""
    result = mask_result(job)
    parameters = choice(named, request.args, result["classes"])
    etag = result["sha256"] + tag(named, parameters)
    return _named_after(
        job, named.suffix, _cacheable(etag, named.media_type, _maker(job, result, named, parameters, etag))
    )


@blueprint.get("/v1/jobs/<job_id>/image")
def image(job_id: str) -> Response:
    """Get the photo, upright and re-encoded: only its pixels, without the metadata of the upload."""
    job = find_job(job_id)
    etag, kind = f"{job.spec.sha256}-image", "image/jpeg"
    made_of = Request(job, etag, kind, photo_bytes(job.spec), [_upload(job)])
    return _named_after(job, "upright.jpg", _cacheable(etag, kind, lambda: rendered(made_of, lambda: _image(job))))


def _named_after(job: Job, suffix: str, response: Response) -> Response:
    """Let browsers show the picture, and name a saved file after the photo."""
    name = job.spec.filename or job.spec.custom_id or job.id
    if response.status_code == 200:
        response.headers["Content-Disposition"] = content_disposition("inline", name, suffix)
    return response


def vary_by_accept(response: Response) -> Response:
    response.vary.add("Accept")
    return response


def _cacheable(etag: str, content_type: str, make: Callable[[], bytes]) -> Response:
    """Respond with immutable content; call `make` only if the client does not have this `etag`."""
    if request.method != "POST" and request.if_none_match.contains(etag):
        response = Response(status=304)
    else:
        content = make()
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {"Repr-Digest": f"sha-256=:{digest}:"}
        response = Response(content, content_type=content_type, headers=headers)
    response.set_etag(etag)
    response.headers["Cache-Control"] = "private, immutable, max-age=86400"
    return response


def _maker(job: Job, result: Result, named: Format, parameters: Choice, etag: str) -> Callable[[], bytes]:
    if named.name == STORED:
        return lambda: _mask_png(job)
    made_of = _request(job, etag, named)
    return lambda: rendered(made_of, lambda: _rendered(job, result, named, parameters))


def _request(job: Job, etag: str, named: Format) -> Request:
    stored = RESULTS, job.result_key
    if named.needs_photo:
        return Request(job, etag, named.media_type, photo_bytes(job.spec), [_upload(job), stored])
    return Request(job, etag, named.media_type, mask_bytes(job.spec), [stored])


def _upload(job: Job) -> tuple[str, str]:
    """Bucket and key."""
    return UPLOADS, object_keys.upload(job.spec.tenant, job.id)


def _rendered(job: Job, result: Result, named: Format, parameters: Choice) -> bytes:
    source = Source(
        mask=_mask_png(job),
        photo=_photo(job) if named.needs_photo else b"",
        classes=result["classes"],
        size=(result["width"], result["height"]),
        settings=connected().settings,
    )
    return in_thread(named.render, source, parameters)


def _image(job: Job) -> bytes:
    return in_thread(renderings.image, _photo(job), connected().settings)


def _photo(job: Job) -> bytes:
    content = connected().objects.get_upload(job.spec)
    if content is None:
        raise Problem("gone", "The photo was erased.")
    return content


def _mask_png(job: Job) -> bytes:
    content = connected().jobs.masks.take(job) or connected().objects.get(RESULTS, job.result_key)
    if content is None:
        raise Problem("gone", "The mask was erased.")
    return content


def mask_result(job: Job) -> Result:
    """Return the job's `result`, which describes its mask. Raises Problem if the job has no mask."""
    if not job.status.final:
        raise Problem("job_not_finished", "Ask again later.", polite_pause_s(job.eta_s))
    if job.outcome is None or job.outcome.result is None:
        raise Problem("already_terminal", f"The job's status is {job.status}; see its `error`.")
    return job.outcome.result
