"""JSON schemas of the documents that web/documents.py and the routes return.

Every object is closed, so a field that is missing here fails tests/web/test_openapi.py.
"""

from typing import Any

from storage.batch import BatchStatus
from storage.feedback import Verdict
from storage.job import Status
from storage.keys import Lane
from storage.models import Alias
from storage.problems import KINDS
from web.documents import RENDERED

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, milliseconds."}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
PATH: Schema = {"type": "string", "format": "uri-reference"}
ANYTHING: Schema = {"type": "object", "description": "From the card of the version."}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def closed(fields: Schema, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Return an object schema with exactly these fields; all but the `optional` ones are required."""
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False, **more}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def or_null(schema: Schema, description: str = "") -> Schema:
    described = {"description": description} if description else {}
    return {"anyOf": [schema, {"type": "null"}], **described}


def one_of(values: type[Status] | type[BatchStatus] | type[Lane] | type[Alias] | type[Verdict]) -> Schema:
    return {"type": "string", "enum": [value.value for value in values]}


def exactly(value: str) -> Schema:
    return {"type": "string", "const": value}


def identifier(prefix: str) -> Schema:
    return {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}


PROBLEM = closed(
    {
        "type": {"type": "string", "format": "uri", "description": "`urn:segue:problem:` and the code."},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "instance": {"type": "string", "description": "The path of the request, or of the job."},
        "code": {"type": "string", "enum": list(KINDS)},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
        "request_id": {"type": "string", "description": "Not in a job's `error`."},
        "retry_after_s": {"type": "integer", "minimum": 0},
    },
    optional=("request_id", "retry_after_s"),
    description="An error (RFC 9457).",
)

MODEL_OF_RESULT = closed({"name": TEXT, "version": TEXT})

RESULT_CLASS = closed(
    {
        "id": {"type": "integer", "minimum": 0, "maximum": 255},
        "name": TEXT,
        "color": {**listed({"type": "integer", "minimum": 0, "maximum": 255}), "minItems": 3, "maxItems": 3},
        "pixels": COUNT,
        "fraction": {"type": "number", "minimum": 0, "maximum": 1},
        "regions": {
            **closed({"inner": NUMBER, "outer": NUMBER}),
            "description": "The thresholds of confidence of the formats inner and outer.",
        },
    },
    optional=("regions",),
)

LABEL = closed({name: RESULT_CLASS["properties"][name] for name in ("id", "name", "color")})

RESULT = closed(
    {
        "width": COUNT,
        "height": COUNT,
        "classes": listed(RESULT_CLASS),
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "sha256": SHA256,
    },
    description="Describes the mask, which has the size of the upright photo.",
)

QUEUE_OF_JOB = closed(
    {
        "position": {**COUNT, "description": "Jobs that workers would claim before this one if no more arrived."},
        "eta_s": or_null(NUMBER, "Seconds until the job is done; null without a live worker or a measured throughput."),
        "eta_low_s": or_null(NUMBER),
        "eta_high_s": or_null(NUMBER),
        "waiting_reason": {
            "type": "string",
            "enum": ["no_live_worker", "model_loading", "behind_others", "batch_filling"],
        },
    },
    description="Estimates while the job waits.",
)

STAGES = ("queued", "fetch", "decode", "infer", "encode", "store", "total")

WATERFALL_STAGE = closed(
    {
        "stage": {"type": "string", "enum": list(STAGES[:-1])},
        "start_ms": {**COUNT, "description": "Milliseconds after `created_at`."},
        "duration_ms": COUNT,
    }
)

LINKS_BY_STATUS = ("events", "cancel", "retry", "mask", *RENDERED)
LINKS_OF_JOB = closed(dict.fromkeys(("self", "image", *LINKS_BY_STATUS), PATH), optional=LINKS_BY_STATUS)

JOB = closed(
    {
        "id": identifier("job"),
        "object": exactly("job"),
        "status": one_of(Status),
        "revision": {**COUNT, "description": "It grows with every change. The `ETag` begins with it."},
        "attempt": {"type": "integer", "minimum": 1},
        "created_at": TIME,
        "started_at": or_null(TIME),
        "finished_at": or_null(TIME),
        "retained_until": or_null(TIME),
        "input": closed(
            {"filename": TEXT, "sha256": SHA256, "bytes": COUNT, "width": COUNT, "height": COUNT, "format": TEXT}
        ),
        "model": or_null(MODEL_OF_RESULT, "The model that made the mask."),
        "priority": one_of(Lane),
        "batch_id": or_null(identifier("bat")),
        "custom_id": or_null(TEXT),
        "tags": listed(TEXT),
        "queue": or_null(QUEUE_OF_JOB),
        "result": or_null(ref("Result")),
        "timings_ms": closed(dict.fromkeys(STAGES, COUNT), optional=STAGES),
        "waterfall": {
            **listed(WATERFALL_STAGE),
            "description": "The stages in order; the time between two stages is a wait. Empty before the first claim.",
        },
        "micro_batch": or_null(closed({"size": {"type": "integer", "minimum": 1}})),
        "error": or_null(ref("Problem"), "Why there is no mask."),
        "newer": or_null(
            closed({"id": identifier("job"), "links": closed({"self": PATH})}),
            "The job that has segmented the photo again with another model. Null in lists and events.",
        ),
        "links": LINKS_OF_JOB,
    },
    description="One image, from its upload to its end.",
)

JOB_LIST = closed(
    {"object": exactly("list"), "data": listed(ref("Job")), "next_cursor": or_null(TEXT, "Null on the last page.")}
)

JOBS_BY_ID = closed(
    {
        "object": exactly("list"),
        "data": listed(ref("Job")),
        "missing": {**listed(TEXT), "description": "Ids that are not among the caller's jobs."},
    },
    description="The jobs in `ids`, in the same order.",
)

SHOWN_CLASS = {name: RESULT_CLASS["properties"][name] for name in ("id", "name", "color", "pixels")}

RUN_LENGTHS = closed(
    {
        "size": {**listed(COUNT), "minItems": 2, "maxItems": 2, "description": "Height and width."},
        "classes": listed(closed({**SHOWN_CLASS, "counts": {"type": "string", "description": "Packed as in COCO."}})),
    },
    description="A mask as COCO run lengths, one mask per class.",
)

RINGS = listed(listed({**listed(COUNT), "minItems": 2, "maxItems": 2}))

POLYGONS = closed(
    {
        "type": exactly("FeatureCollection"),
        "features": listed(
            closed(
                {
                    "type": exactly("Feature"),
                    "properties": closed(SHOWN_CLASS),
                    "geometry": closed({"type": exactly("MultiPolygon"), "coordinates": listed(RINGS)}),
                }
            )
        ),
    },
    description="A mask as GeoJSON, one feature per class, in pixels from the top left corner.",
)

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
        "guarantee": ANYTHING,
        "metrics": ANYTHING,
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

ALIVE = closed({"status": exactly("ok")})

READINESS = closed(
    {
        "status": {"type": "string", "enum": ["ready", "unavailable"]},
        "redis": {"type": "boolean"},
        "object_store": {"type": "boolean"},
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
