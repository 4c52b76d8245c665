"""JSON schemas of jobs, and of masks in JSON."""

from storage.job import Status
from storage.keys import Lane
from storage.problems import KINDS
from web.documents import RENDERED
from web.openapi.json_schema import (
    COUNT,
    NUMBER,
    PATH,
    SHA256,
    TEXT,
    TIME,
    closed,
    exactly,
    identifier,
    listed,
    one_of,
    or_null,
    ref,
)

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
            "enum": ["paused", "no_live_worker", "model_loading", "behind_others", "batch_filling"],
        },
        "pause_reason": or_null({"type": "string"}, "Why the operator has paused all jobs; null unless `paused`."),
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
