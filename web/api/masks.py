"""What is to be seen of a job: its mask in each format, and the photo."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, after_this_request, request

from storage import keys
from storage.job import Job
from storage.objects import RESULTS, UPLOADS
from storage.problems import Problem
from web.api.jobs import find_job
from web.documents import polite_pause_s
from web.rendering import renderings
from web.rendering.cache import Request, rendered
from web.rendering.formats import TYPES, Choice, choice, wanted
from web.rendering.threads import in_thread
from web.rendering.work import mask_bytes, photo_bytes
from web.services import connected

blueprint = Blueprint("masks", __name__)


@blueprint.get("/v1/jobs/<job_id>/mask")
def mask(job_id: str) -> Response:
    """In the format that `format=` names, or else `Accept` asks for."""
    job = find_job(job_id)
    after_this_request(_varying)
    named = wanted(request.args.get("format"), request.accept_mimetypes)
    result = mask_result(job)
    chosen = choice(named, request.args, result["classes"])
    etag = result["sha256"] + chosen.tag
    if named == "index":
        return _kept(etag, TYPES[named], lambda: _mask_png(job))
    made_of = _request(job, etag, named)
    return _kept(etag, TYPES[named], lambda: rendered(made_of, lambda: _rendered(job, result, chosen)))


@blueprint.get("/v1/jobs/<job_id>/image")
def image(job_id: str) -> Response:
    """The photo, upright and encoded anew: nothing of the file that was sent but its pixels."""
    job = find_job(job_id)
    etag, kind = f"{job.spec.sha256}-image", "image/jpeg"
    made_of = Request(job, etag, kind, photo_bytes(job.spec), [_upload(job)])
    return _kept(etag, kind, lambda: rendered(made_of, lambda: _image(job)))


def _varying(response: Response) -> Response:
    response.vary.add("Accept")
    return response


def _kept(etag: str, content_type: str, make: Callable[[], bytes]) -> Response:
    """What never changes: 304 for who has it, and made only for who has not."""
    if request.if_none_match.contains(etag):
        response = Response(status=304)
    else:
        content = make()
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {"Repr-Digest": f"sha-256=:{digest}:"}
        response = Response(content, content_type=content_type, headers=headers)
    response.set_etag(etag)
    response.headers["Cache-Control"] = "private, immutable, max-age=86400"
    return response


def _request(job: Job, etag: str, named: str) -> Request:
    stored = RESULTS, job.result_key
    if named in ("overlay", "cutout"):
        return Request(job, etag, TYPES[named], photo_bytes(job.spec), [_upload(job), stored])
    return Request(job, etag, TYPES[named], mask_bytes(job.spec), [stored])


def _upload(job: Job) -> tuple[str, str]:
    """Bucket and key."""
    return UPLOADS, keys.upload(job.spec.tenant, job.id)


def _rendered(job: Job, result: dict[str, Any], chosen: Choice) -> bytes:
    settings, content, classes = connected().settings, _mask_png(job), result["classes"]
    match chosen.format:
        case "overlay":
            return in_thread(renderings.overlay, _photo(job), content, classes, chosen.alpha, settings)
        case "cutout":
            return in_thread(renderings.cutout, _photo(job), content, chosen.shown, settings)
        case "confidence":
            return in_thread(renderings.confidence, content, (result["width"], result["height"]))
        case "rle":
            return in_thread(renderings.rle, content, classes)
        case _:
            return in_thread(renderings.geojson, content, classes)


def _image(job: Job) -> bytes:
    return in_thread(renderings.image, _photo(job), connected().settings)


def _photo(job: Job) -> bytes:
    content = connected().objects.get_upload(job.spec)
    if content is None:
        raise Problem("gone", "The photo was erased.")
    return content


def _mask_png(job: Job) -> bytes:
    content = connected().objects.get(RESULTS, job.result_key)
    if content is None:
        raise Problem("gone", "The mask was erased.")
    return content


def mask_result(job: Job) -> dict[str, Any]:
    """What is told about the mask. Raises Problem while there is none."""
    if not job.status.final:
        raise Problem("job_not_finished", "Ask again later.", polite_pause_s(job.eta_s))
    if job.outcome is None or job.outcome.result is None:
        raise Problem("already_terminal", f"The job's status is {job.status}; see its `error`.")
    return job.outcome.result
