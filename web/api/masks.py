"""What is to be seen of a job: its mask in each format, and the photo."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, after_this_request, request

from storage.job import Job
from storage.objects import RESULTS
from storage.problems import Problem
from web.api.jobs import find_job
from web.documents import polite_pause_s
from web.rendering import renderings
from web.rendering.formats import RENDERINGS, TYPES, Choice, choice, in_thread, wanted
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
    return _kept(result["sha256"] + chosen.tag, TYPES[named], lambda: _mask(job, result, chosen))


@blueprint.get("/v1/jobs/<job_id>/image")
def image(job_id: str) -> Response:
    """The photo, upright and encoded anew: nothing of the file that was sent but its pixels."""
    job = find_job(job_id)
    return _kept(f"{job.spec.sha256}-image", "image/jpeg", lambda: _image(job))


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


def _mask(job: Job, result: dict[str, Any], chosen: Choice) -> bytes:
    if chosen.format == "index":
        return _mask_png(job)
    with RENDERINGS:
        return _rendered(job, result, chosen)


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
    with RENDERINGS:
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
