"""The operations of the queue, models, sessions, health and pages."""

from web.api.models import Rollback, Target
from web.api.session import SessionRequest
from web.openapi.inputs import flat, query
from web.openapi.json_schema import Schema, ref
from web.openapi.operation import JSON, Answer, Body, Operation, Operations

ALIASES = {200: Answer("The aliases now.", {JSON: ref("AliasesAnswer")})}
PAGE = {200: Answer("The page.", {"text/html": {"type": "string"}}, optional=("Set-Cookie",))}
OPENAPI: Schema = {"type": "object", "required": ["openapi", "info", "paths", "components"]}

OF_TENANT = query("tenant", "The tenant whose sessions are meant; requires the scope `admin`.", {"type": "string"})

MODELS: Operations = {
    "models.listing": Operation(
        tag="models",
        answers={200: Answer("All versions.", {JSON: ref("ModelList")})},
    ),
    "models.point": Operation(
        tag="models",
        body=Body({JSON: flat(Target)}),
        answers=ALIASES,
        problems=("invalid_request", "not_found", "payload_too_large", "unknown_model"),
    ),
    "models.rollback": Operation(
        tag="models",
        body=Body({JSON: flat(Rollback)}),
        answers=ALIASES,
        problems=("invalid_request", "nothing_to_roll_back", "payload_too_large"),
    ),
}

SESSIONS: Operations = {
    "session.create": Operation(
        tag="session",
        summary="Begin a session for a key; on a public page also without one, for a new anonymous tenant.",
        body=Body({JSON: flat(SessionRequest)}, required=False),
        answers={204: Answer("The session has begun, or continues.", headers=("Set-Cookie",))},
        problems=("invalid_request", "unauthorized", "payload_too_large", "rate_limited"),
    ),
    "session.remove": Operation(
        tag="session",
        summary="End the session.",
        answers={204: Answer("The browser has no session.", optional=("Set-Cookie",))},
    ),
    "sessions.listing": Operation(
        tag="session",
        parameters=(OF_TENANT,),
        answers={200: Answer("Open sessions.", {JSON: ref("SessionList")})},
        problems=("invalid_request",),
    ),
    "sessions.remove_all": Operation(
        tag="session",
        parameters=(OF_TENANT,),
        answers={204: Answer("The sessions have ended.", optional=("Set-Cookie",))},
        problems=("invalid_request",),
    ),
    "sessions.remove": Operation(
        tag="session",
        answers={204: Answer("The session has ended.", optional=("Set-Cookie",))},
        problems=("not_found",),
    ),
}

OPERATIONS: Operations = {
    "queue.state": Operation(
        tag="service",
        summary="Get the queue's length and throughput.",
        answers={200: Answer("The queue now.", {JSON: ref("Queue")})},
    ),
    "usage.usage": Operation(
        tag="service",
        summary="Get the caller's storage usage and quotas.",
        answers={200: Answer("Jobs and bytes.", {JSON: ref("Usage")})},
    ),
    **MODELS,
    **SESSIONS,
    "health.healthz": Operation(tag="service", answers={200: Answer("Alive.", {JSON: ref("Alive")})}),
    "health.readyz": Operation(
        tag="service",
        answers={
            200: Answer("Ready.", {JSON: ref("Readiness")}),
            503: Answer(
                "Redis or the object store does not answer, or the API keys could not be read since the start.",
                {JSON: ref("Readiness")},
            ),
        },
    ),
    "pages.index": Operation(tag="service", summary="Get the web page.", answers=PAGE),
    "openapi.document": Operation(tag="service", answers={200: Answer("OpenAPI 3.1.", {JSON: OPENAPI})}),
    "openapi.page": Operation(tag="service", answers=PAGE),
}
