"""The operations of jobs."""

from storage.job import Status
from web.api.feedback import Remark
from web.api.records import LONGEST_PAGE, Query
from web.openapi.inputs import (
    ACCEPT,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    PREFER,
    fields_of,
    flat,
    form,
    header,
    query,
    query_of,
)
from web.openapi.json_schema import ref
from web.openapi.operation import BINARY, JSON, STATE, WAITED, Answer, Body, Operation, Operations, events, one_state
from web.rendering.formats import FORMATS
from web.rendering.parameters import DEFAULT_ALPHA
from web.uploads import IMAGE_FIELD, JsonUpload, Options

ONE_JOB = ("not_found", "gone")
# A request that waits for the mask gets one of these problems if the job ends without one.
ENDINGS = (
    "image_decode_failed",
    "model_unavailable",
    "storage_error",
    "poisoned",
    "canceled",
    "expired",
    "mask_too_detailed",
)
JOB = {JSON: ref("Job")}
MASKS = {one.media_type: ref(one.document) if one.document else BINARY for one in FORMATS.values()}
DOCUMENT_OR_MASK = header(
    "Accept",
    "With `Prefer: wait=n`, a picture or GeoJSON type that ranks above JSON returns the mask once the job has ended.",
    {"type": "string"},
    "image/png",
)
IMAGE = {**BINARY, "description": "JPEG, PNG, WebP, HEIC, GIF, BMP, TIFF or AVIF, detected from its content."}
UPLOAD = Body(
    {
        "multipart/form-data": form({IMAGE_FIELD: IMAGE, **fields_of(Options)}, (IMAGE_FIELD,)),
        JSON: flat(JsonUpload),
        "image/*": IMAGE,
        "application/octet-stream": IMAGE,
    }
)

CREATE = Operation(
    tag="jobs",
    summary="Submit one image; with `Prefer: wait=n`, wait until its job has ended.",
    parameters=(*query_of(Options), PREFER, DOCUMENT_OR_MASK, IDEMPOTENCY_KEY),
    body=UPLOAD,
    answers={
        200: Answer(
            "The job ended while the request waited. Returns the job, or its mask if `Accept` prefers that.",
            {**MASKS, **JOB},
            ("Location", *STATE, "Preference-Applied"),
            ("Idempotency-Replayed", "Repr-Digest", "Content-Disposition"),
        ),
        202: Answer("Accepted.", JOB, ("Location", *STATE), (*WAITED, "Idempotency-Replayed")),
    },
    problems=(
        "invalid_request",
        "idempotency_in_progress",
        "gone",
        "payload_too_large",
        "unsupported_media_type",
        "unprocessable_image",
        "unknown_model",
        "idempotency_key_reused",
        "queue_full",
        "not_accepting",
        "quota_exceeded",
        *ENDINGS,
    ),
)

IDS = query(
    "ids",
    f"Up to {LONGEST_PAGE} ids, separated by commas: the current state of these jobs. Excludes the other parameters.",
    {"type": "string"},
)
LISTING = Operation(
    tag="jobs",
    parameters=(IDS, *query_of(Query)),
    answers={
        200: Answer(
            "A page of jobs, which may lag by seconds; or the jobs in `ids`.",
            {JSON: {"oneOf": [ref("JobList"), ref("JobsById")]}},
            optional=("Link", "Retry-After"),
        )
    },
    problems=("invalid_request",),
)

STATUS = Operation(
    tag="jobs",
    parameters=(PREFER, IF_NONE_MATCH),
    answers=one_state("The job.", "Job"),
    problems=ONE_JOB,
)

EVENTS = Operation(
    tag="jobs",
    answers=events(
        "Events `job.queued`, `job.running`, `job.succeeded` and so on, each with the job as its data.",
        "Job",
        [f"job.{status}" for status in Status],
        "The job's revision.",
    ),
    problems=ONE_JOB,
)

PICTURE_HEADERS = ("ETag", "Repr-Digest", "Content-Disposition")
MASK = Operation(
    tag="jobs",
    summary="Get the mask, in the format that `format` names or in the one that `Accept` prefers.",
    parameters=(
        query("format", "The output format.", {"type": "string", "enum": list(FORMATS)}),
        query(
            "alpha",
            "For `format=overlay`: the opacity of the colours, from 0 (photo only) to 1 (colours only).",
            {"type": "number", "minimum": 0, "maximum": 1, "default": DEFAULT_ALPHA},
        ),
        query(
            "classes",
            "For `format=cutout`: class names or ids, separated by commas; by default all but the background.",
            {"type": "string"},
        ),
        ACCEPT,
        IF_NONE_MATCH,
    ),
    answers={
        200: Answer(
            "The mask.",
            MASKS,
            PICTURE_HEADERS,
        ),
        304: Answer("Not modified.", headers=STATE),
    },
    problems=(
        "invalid_request",
        *ONE_JOB,
        "not_acceptable",
        "no_confidence",
        "no_guarantee",
        "job_not_finished",
        "already_terminal",
        "mask_too_detailed",
    ),
)

PHOTO = Operation(
    tag="jobs",
    parameters=(IF_NONE_MATCH,),
    answers={
        200: Answer("The photo as JPEG.", {"image/jpeg": BINARY}, PICTURE_HEADERS),
        304: Answer("Not modified.", headers=STATE),
    },
    problems=(*ONE_JOB, "image_decode_failed"),
)

CANCEL = Operation(
    tag="jobs",
    answers={
        200: Answer("The job is canceled.", JOB, STATE),
        202: Answer("The job is running; it ends before its next stage.", JOB, STATE, ("Retry-After",)),
    },
    problems=(*ONE_JOB, "already_terminal"),
)

RETRY = Operation(
    tag="jobs",
    answers={202: Answer("The job is queued again.", JOB, STATE, ("Retry-After",))},
    problems=(*ONE_JOB, "not_retryable", "queue_full", "not_accepting"),
)

ERASE = Operation(
    tag="jobs",
    answers={204: Answer("The job is erased.")},
    problems=(*ONE_JOB, "job_not_finished"),
)

FEEDBACK = Operation(
    tag="jobs",
    body=Body(
        {
            JSON: flat(Remark),
            "multipart/form-data": form({"mask": BINARY, **fields_of(Remark)}, ("mask", "verdict")),
        }
    ),
    answers={201: Answer("The feedback is stored with the job.", {JSON: ref("Feedback")})},
    problems=(
        "invalid_request",
        *ONE_JOB,
        "job_not_finished",
        "already_terminal",
        "payload_too_large",
        "unsupported_media_type",
        "unprocessable_image",
    ),
)

OPERATIONS: Operations = {
    "jobs.create": CREATE,
    "records.listing": LISTING,
    "jobs.status": STATUS,
    "jobs.events": EVENTS,
    "masks.mask": MASK,
    "masks.image": PHOTO,
    "jobs.cancel": CANCEL,
    "jobs.retry": RETRY,
    "jobs.erase": ERASE,
    "feedback.create": FEEDBACK,
}
