"""The batch routes: open, append, close, cancel, retry, status, events, results and archive."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field

from storage import clock, keys, lifecycle
from storage.batch import Batch, BatchSpec
from storage.connection import Storage
from storage.job import LONGEST_DEADLINE_S, Job, Spec, Status
from storage.keys import Lane
from storage.models import Alias
from storage.problems import Problem, Unavailable
from storage.queue.batches import CANCELED
from web import request_log
from web.access.auth import count_images, most_images, still_authorized
from web.access.caller import caller
from web.batch_items import UPLOADERS, only_repeats, size, store_items
from web.documents import batch_document, item_document, polite_pause_s
from web.filenames import content_disposition, visible
from web.idempotency import reserve, with_key
from web.origin import origin
from web.parsing import parsed
from web.preferences import preferred_wait, with_state
from web.quotas import check_quota
from web.rendering.archive import archive
from web.rendering.work import client
from web.services import admission, connected, waiting
from web.streams import Event, Source, stream
from web.threads import each
from web.uploads import ENVELOPE_BYTES, IMAGE_FIELD, LONGEST_MODEL, Tags

MOST_PARTS, MOST_BYTES = 100, 32 * 1024 * 1024
RESULTS_PAGE = 500
EVENT_PAUSE_S = 1.0

blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")


class BatchOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    priority: Lane = Lane.BULK
    deadline_s: int | None = Field(default=None, ge=1, le=LONGEST_DEADLINE_S)
    model: str = Field(default=Alias.STABLE, max_length=LONGEST_MODEL)
    tags: Tags = Field(default_factory=list)


class Opening(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", max_length=255)
    options: BatchOptions = BatchOptions()


@blueprint.post("")
def create() -> Response:
    storage, opening = connected(), parsed(Opening, request.get_data())
    options = opening.options
    storage.models.check(options.model)
    deadline_s = options.deadline_s or storage.settings.deadline_s
    now_ms = clock.now_ms()
    tenant, name = caller().tenant, visible(opening.name)
    new = BatchSpec(
        keys.new_batch_id(), tenant, name, options.priority, options.model, deadline_s, now_ms, ",".join(options.tags)
    )
    spec, replayed = reserve(storage.jobs, with_key(new, opening.model_dump_json()))
    if not replayed:
        _open(storage, spec)
    response = _with_status(jsonify(batch_document(_find(spec.id), request.script_root)), 201)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"{request.script_root}/v1/batches/{spec.id}"
    return response


def _open(storage: Storage, spec: BatchSpec) -> None:
    try:
        admission().check_accepting()
        storage.batches.open(spec)
    except (Problem, Unavailable):
        storage.jobs.idempotency.unreserve(spec)
        raise


@blueprint.post("/<batch_id>/jobs")
def append(batch_id: str) -> Response:
    """Add images to the batch. The file name of each `image` part is the item's custom_id.

    In this order: store the uploads, list their job ids in the object store, enqueue the jobs, send
    tickets, answer 202.
    """
    request.max_content_length = MOST_BYTES + MOST_PARTS * ENVELOPE_BYTES
    request.max_form_parts = MOST_PARTS
    storage, batch = connected(), _find(batch_id)
    if batch.closed:
        raise Problem("batch_closed", "Open another batch.")
    parts = request.files.getlist(IMAGE_FIELD)
    if IMAGE_FIELD in request.form:
        raise Problem("invalid_request", f"A part `{IMAGE_FIELD}` has no file name, which is the item's custom_id.")
    if not parts:
        raise Problem("invalid_request", f"The form has no file in the field `{IMAGE_FIELD}`.")
    if set(request.files) != {IMAGE_FIELD} or request.form:
        raise Problem("invalid_request", f"The form has other fields than `{IMAGE_FIELD}`.")
    count_images(len(parts))
    check_quota(len(parts), sum(map(size, parts)))
    if not (admission().refuses() and only_repeats(storage, batch.id, parts)):
        admission().check(len(parts))
    items = store_items(storage, batch.spec, origin(), parts, request.script_root + request.path)
    stored: dict[str, Spec] = {}
    for spec in filter(None, (item.spec for item in items)):
        stored.setdefault(spec.id, spec)
    storage.batches.add(batch.spec, list(stored))
    missing = 0
    for spec in stored.values():
        missing = storage.jobs.enqueue(spec)
        request_log.accepted(spec)
    storage.tickets.send(missing)
    return _with_status(jsonify(items=[item.document for item in items]), 202)


@blueprint.post("/<batch_id>/close")
def close(batch_id: str) -> Response:
    batch = _find(batch_id)
    if not batch.closed:
        connected().batches.close(batch.spec)
    return _with_status(jsonify(batch_document(_find(batch_id), request.script_root)), 202)


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    """Close the batch and cancel its unfinished items.

    Waiting items end within seconds, running ones before their next stage.
    """
    storage, batch = connected(), _find(batch_id)
    if not batch.status.final:
        storage.batches.close(batch.spec, CANCELED)
        for page in storage.batches.live.job_ids(batch.id):
            storage.jobs.cancel_soon(page)
    return _with_status(jsonify(batch_document(_find(batch_id), request.script_root)), 202)


@blueprint.post("/<batch_id>/retry")
def retry(batch_id: str) -> Response:
    """Retry every item that ended without a mask.

    Each counts as an image. If a limit stops the request, the items so far are queued again, and a
    repeated request continues with the others.
    """
    storage, batch = connected(), _find(batch_id)
    ended = (job for job in storage.batches.jobs(batch.id) if job.status in lifecycle.RETRYABLE)
    while page := list(islice(ended, min(MOST_PARTS, most_images()))):
        count_images(len(page))
        admission().check(len(page))
        each(lambda job: _retry(storage, job, batch.spec.deadline_s), page, UPLOADERS)
        storage.tickets.send(storage.jobs.tickets_missing())
    if batch.canceled:
        storage.batches.close(batch.spec)
    storage.tickets.send(storage.jobs.tickets_missing())
    return _with_status(jsonify(batch_document(_find(batch_id), request.script_root)), 202)


def _retry(storage: Storage, job: Job, deadline_s: int) -> None:
    with suppress(Problem):  # without its photo the job cannot be retried and stays as it is
        lifecycle.retry(storage.objects, storage.jobs, job, deadline_s)


@blueprint.get("/<batch_id>")
def status(batch_id: str) -> Response:
    """Get the batch; with `Prefer: wait=n`, wait until it has ended or differs from `If-None-Match`."""
    batch, wait_s, known = _find(batch_id), preferred_wait(), request.if_none_match
    if wait_s and not batch.status.final:
        settled = (lambda seen: not known.contains(_etag(seen))) if known else _ended
        batch = waiting().until(batch.id, _reader(batch_id), settled, wait_s) or batch
    response = jsonify(batch_document(batch, request.script_root))
    if not batch.status.final:
        response.headers["Retry-After"] = str(polite_pause_s(batch.eta_s))
    return with_state(response, _etag(batch), wait_s)


@blueprint.get("/<batch_id>/events")
def events(batch_id: str) -> Response:
    """Stream the batch as server-sent events: now, then after changes, at most one per second, until it has ended."""
    source = Source(batch_id, _reader(batch_id), partial(_event, request.script_root), EVENT_PAUSE_S)
    return stream(waiting(), source, _find(batch_id), still_authorized())


def _event(root: str, batch: Batch) -> Event:
    return Event(_etag(batch), "batch.progress", json.dumps(batch_document(batch, root)), batch.status.final)


@blueprint.get("/<batch_id>/results")
def results(batch_id: str) -> Response:
    """List the ended items as NDJSON, in the order in which they ended, after the cursor `after`."""
    batch, storage, root = _find(batch_id), connected(), request.script_root
    try:
        after = int(request.args.get("after", "0"))
    except ValueError as error:
        raise Problem("invalid_request", "after: use the cursor of the last line.") from error

    def lines(after: int) -> Iterator[str]:
        while page := storage.batches.ended(batch.id, after, RESULTS_PAGE):
            for number, job in page:
                yield json.dumps(item_document(number, job, root)) + "\n"
            after = page[-1][0]

    return Response(lines(after), content_type="application/x-ndjson")


@blueprint.get("/<batch_id>/archive.zip")
def archive_zip(batch_id: str) -> Response:
    """Download the finished masks as a zip, in their folders, with manifest.json and coco.json."""
    batch = _find(batch_id)
    headers = {"Content-Disposition": content_disposition("attachment", batch.spec.name or batch.id, "zip")}
    zipped = archive(connected(), batch, request.script_root, client())
    return Response(zipped, content_type="application/zip", headers=headers)


def _find(batch_id: str) -> Batch:
    batch = connected().batches.get(caller().tenant, batch_id) if keys.is_batch_id(batch_id) else None
    if batch is None:
        raise Problem("not_found", "No batch has this id.")
    return batch


def _reader(batch_id: str) -> Callable[[], Batch | None]:
    """Return a function that reads the batch again. A stream calls it after the request's context has ended."""
    batches, tenant = connected().batches, caller().tenant
    return lambda: batches.get(tenant, batch_id)


def _ended(batch: Batch) -> bool:
    return batch.status.final


def _etag(batch: Batch) -> str:
    """Return an ETag that changes with every count."""
    counts = "-".join(str(batch.counts[status]) for status in Status)
    return f"{batch.status}-{counts}-{batch.last}"


def _with_status(response: Response, status: int) -> Response:
    response.status_code = status
    return response
