"""One image and its fate."""

from web.api.feedback import Remark
from web.api.jobs import DEFAULT_ALPHA
from web.api.records import Query
from web.openapi.inputs import IDEMPOTENCY_KEY, IF_NONE_MATCH, PREFER, fields_of, flat, form, query, query_of
from web.openapi.operation import BINARY, JSON, Answer, Body, Operation, Operations
from web.schemas import ref
from web.uploads import IMAGE_FIELD, Options

ONE_JOB = ("not_found", "gone")
JOB = {JSON: ref("Job")}
STATE = ("ETag",)
WAITED = ("Retry-After", "Preference-Applied")

IMAGE = {**BINARY, "description": "JPEG, PNG or WebP, told by its content."}
UPLOAD = Body(
    {
        "multipart/form-data": form({IMAGE_FIELD: IMAGE, **fields_of(Options)}, (IMAGE_FIELD,)),
        "image/*": IMAGE,
        "application/octet-stream": IMAGE,
    }
)

CREATE = Operation(
    tag="jobs",
    summary="Accept one image; with `Prefer: wait=n` answer when it has its mask.",
    parameters=(*query_of(Options), PREFER, IDEMPOTENCY_KEY, IF_NONE_MATCH),
    body=UPLOAD,
    answers={
        200: Answer(
            "It ended while the request waited.",
            JOB,
            ("Location", *STATE, "Preference-Applied"),
            ("Idempotency-Replayed",),
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
    ),
)

LISTING = Operation(
    tag="jobs",
    parameters=query_of(Query),
    answers={200: Answer("A page, seconds behind.", {JSON: ref("JobList")}, optional=("Link",))},
    problems=("invalid_request",),
)

STATUS = Operation(
    tag="jobs",
    parameters=(PREFER, IF_NONE_MATCH),
    answers={
        200: Answer("The job.", JOB, STATE, WAITED),
        304: Answer("It is as it was.", headers=STATE, optional=WAITED),
    },
    problems=ONE_JOB,
)

MASK = Operation(
    tag="jobs",
    summary="The mask: class ids as a palette PNG, or their colours over the upright photo.",
    parameters=(
        query("format", "What to draw.", {"type": "string", "enum": ["index", "overlay"], "default": "index"}),
        query(
            "alpha",
            "How much of the colours: 0 is the photo only.",
            {"type": "number", "minimum": 0, "maximum": 1, "default": DEFAULT_ALPHA},
        ),
        IF_NONE_MATCH,
    ),
    answers={
        200: Answer("The picture.", {"image/png": BINARY, "image/jpeg": BINARY}, STATE, ("Repr-Digest",)),
        304: Answer("It is as it was.", headers=STATE),
    },
    problems=("invalid_request", *ONE_JOB, "job_not_finished", "already_terminal"),
)

CANCEL = Operation(
    tag="jobs",
    answers={
        200: Answer("It has ended.", JOB, STATE),
        202: Answer("It runs, and ends before its next stage.", JOB, STATE, ("Retry-After",)),
    },
    problems=(*ONE_JOB, "already_terminal"),
)

RETRY = Operation(
    tag="jobs",
    answers={202: Answer("It waits again.", JOB, STATE, ("Retry-After",))},
    problems=(*ONE_JOB, "not_retryable"),
)

ERASE = Operation(
    tag="jobs",
    answers={204: Answer("Nothing of it is left.")},
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
    answers={201: Answer("It is kept with the job.", {JSON: ref("Feedback")})},
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
    "jobs.mask": MASK,
    "jobs.cancel": CANCEL,
    "jobs.retry": RETRY,
    "jobs.erase": ERASE,
    "feedback.create": FEEDBACK,
}
