"""JSON schemas of the documents that web/documents.py and the routes return.

Every object is closed, so a field that is missing here fails tests/web/test_openapi.py.
"""

from storage.batch import BatchStatus
from storage.feedback import Verdict
from storage.job import Status
from storage.keys import Lane
from storage.models import Alias
from web.openapi.job_schemas import (
    JOB,
    JOB_LIST,
    JOBS_BY_ID,
    LABEL,
    LINKS_OF_JOB,
    POLYGONS,
    PROBLEM,
    RESULT,
    RUN_LENGTHS,
)
from web.openapi.json_schema import (
    ANYTHING,
    COUNT,
    NUMBER,
    PATH,
    SHA256,
    TEXT,
    TIME,
    Schema,
    closed,
    exactly,
    identifier,
    listed,
    one_of,
    or_null,
    ref,
)

OF_CARD = {**ANYTHING, "description": "From the card of the version."}

ITEM = closed(
    {
        "cursor": {"type": "integer", "description": "Send it as `after` to get the lines after this one."},
        "custom_id": TEXT,
        "job_id": identifier("job"),
        "status": one_of(Status),
        "result": or_null(ref("Result")),
        "error": or_null(ref("Problem")),
        "links": LINKS_OF_JOB,
    },
    description="One line of a batch's results.",
)

BATCH = closed(
    {
        "id": identifier("bat"),
        "object": exactly("batch"),
        "name": TEXT,
        "status": one_of(BatchStatus),
        "priority": one_of(Lane),
        "model": {"type": "string", "description": "The requested alias or version."},
        "tags": listed(TEXT),
        "created_at": TIME,
        "counts": closed({"total": COUNT, **{status.value: COUNT for status in Status}}),
        "rate_per_s": or_null(NUMBER, "Items that ended per second, recently."),
        "eta_s": or_null(NUMBER),
        "links": closed(
            dict.fromkeys(("self", "jobs", "close", "cancel", "retry", "events", "results", "archive"), PATH)
        ),
    },
    description="A set of jobs. Its status follows from theirs.",
)

APPENDED = closed(
    {
        "items": listed(
            closed(
                {
                    "custom_id": TEXT,
                    "job_id": or_null(identifier("job"), "Null if the image was refused."),
                    "outcome": {"type": "string", "enum": ["accepted", "known", "refused"]},
                    "error": or_null(ref("Problem")),
                }
            )
        )
    },
    description="The outcome of each sent image, in the same order.",
)

LANE = closed({"pending": COUNT, "running": COUNT, "oldest_age_s": or_null(NUMBER)})

QUEUE = closed(
    {
        "object": exactly("queue"),
        "lanes": closed({lane.value: LANE for lane in Lane}),
        "workers": COUNT,
        "images_per_s": NUMBER,
        "ms_per_image": or_null(NUMBER, "One worker's recent time per image; null without a measured throughput."),
        "mean_micro_batch": or_null(NUMBER),
        "backlog_s": or_null(NUMBER, "Seconds until the queue is empty; null without a measured throughput."),
    }
)

USAGE = closed(
    {
        "object": exactly("usage"),
        "jobs": COUNT,
        "bytes": {**COUNT, "description": "The size of the photos as uploaded."},
        "quota_jobs": or_null(COUNT, "Null on a server that requires no keys."),
        "quota_bytes": or_null(COUNT),
    }
)

ALIAS_ENTRY = closed(
    {
        "version": TEXT,
        "since": {**TIME, "description": ""},
        "rolled_back": {**TEXT, "description": "Versions, separated by spaces, that a rollback replaced by this one."},
    },
    optional=("rolled_back",),
)

ALIASES: Schema = {
    "type": "object",
    "properties": {alias.value: {**listed(ALIAS_ENTRY), "minItems": 1} for alias in Alias},
    "additionalProperties": False,
    "description": "Alias → the versions that it has pointed at, the current one first.",
}

MODEL = closed(
    {
        "id": {"type": "string", "description": "name/version"},
        "object": exactly("model"),
        "name": TEXT,
        "version": TEXT,
        "aliases": listed(one_of(Alias)),
        "labels": listed(LABEL),
        "input_size": COUNT,
        "files": {"type": "object", "additionalProperties": SHA256, "description": "File → its SHA-256."},
        "trained_on": TEXT,
        "guarantee": OF_CARD,
        "metrics": OF_CARD,
        "workers": {**COUNT, "description": "The number of workers that loaded it."},
        "refused": listed(closed({"worker": TEXT, "reason": TEXT})),
        "condemned": or_null(TEXT, "Why the version was rolled back; null if it was not."),
    }
)

MODEL_LIST = closed({"object": exactly("list"), "data": listed(ref("Model")), "aliases": ref("Aliases")})

ALIASES_ANSWER = closed({"object": exactly("aliases"), "aliases": ref("Aliases")})

FEEDBACK = closed(
    {
        "id": identifier("fbk"),
        "object": exactly("feedback"),
        "job_id": identifier("job"),
        "verdict": one_of(Verdict),
        "note": TEXT,
        "corrected": {"type": "boolean", "description": "Whether it includes a corrected mask."},
        "consent_training": {"type": "boolean"},
        "consent_wording": or_null(TEXT),
        "created_at": TIME,
    }
)

SESSION = closed(
    {
        "id": TEXT,
        "object": exactly("session"),
        "tenant": TEXT,
        "current": {"type": "boolean", "description": "Whether this request uses the session."},
        "created_at": TIME,
        "last_used_at": TIME,
        "expires_at": TIME,
        "agent": {"type": "string", "description": "The browser's `User-Agent`."},
    }
)

SESSION_LIST = closed({"object": exactly("list"), "data": listed(ref("Session"))})

ALIVE = closed({"status": exactly("ok"), "version": {"type": "string"}})

READINESS = closed(
    {
        "status": {"type": "string", "enum": ["ready", "unavailable"]},
        "redis": {"type": "boolean"},
        "object_store": {"type": "boolean"},
        "api_keys": {
            "type": "boolean",
            "description": "False until the server has read the API keys, if it needs any.",
        },
        "workers": COUNT,
    }
)

SCHEMAS: dict[str, Schema] = {
    "Problem": PROBLEM,
    "Job": JOB,
    "Result": RESULT,
    "JobList": JOB_LIST,
    "JobsById": JOBS_BY_ID,
    "RunLengths": RUN_LENGTHS,
    "Polygons": POLYGONS,
    "Feedback": FEEDBACK,
    "Batch": BATCH,
    "Appended": APPENDED,
    "Item": ITEM,
    "Queue": QUEUE,
    "Usage": USAGE,
    "Model": MODEL,
    "ModelList": MODEL_LIST,
    "Aliases": ALIASES,
    "AliasesAnswer": ALIASES_ANSWER,
    "Session": SESSION,
    "SessionList": SESSION_LIST,
    "Alive": ALIVE,
    "Readiness": READINESS,
}
