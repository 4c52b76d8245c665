"""Parameters and bodies; pydantic models become query parameters or schemas of bodies."""

from typing import Any

from pydantic import BaseModel

from storage.models import Alias
from web.access.sessions import CSRF_HEADER
from web.openapi.json_schema import Schema, one_of
from web.preferences import LONGEST_WAIT_S

MEANINGS = {
    "priority": "The lane: interactive jobs go first.",
    "deadline_s": "Seconds after which the job ends as `expired`.",
    "model": "An alias or a version, as GET /v1/models lists them.",
    "status": "Only jobs of this status.",
    "state": "Only reviews in this state.",
    "decision": "Whether photo and mask may be used for training.",
    "note": "A remark, for people to read.",
    "kind": "What the run does.",
    "parameters": "Of the kind, for example `dataset`; `start`, `recipe`, `changes` of `train`; `candidate` of `gate`.",
    "teach": "After a build, train a candidate and let the gate judge it.",
    "policy": "Fields of the policy that replace those of the setting ROLLOUT_POLICY.",
    "pardon": "Even if the version was rolled back before.",
    "reason": "For the record.",
    "batch_id": "Only jobs of this batch.",
    "created_after": "Only jobs accepted after this time.",
    "tags": "Up to 20 words, separated by commas.",
    "limit": "The page size.",
    "cursor": "The `next_cursor` of the previous page.",
}


def header(name: str, description: str, schema: Schema, example: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


def query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


PREFER = header(
    "Prefer",
    f"`wait=n` (RFC 7240): wait until it has ended, at most n seconds; n is at most {LONGEST_WAIT_S}.",
    {"type": "string"},
    "wait=1",
)
IF_NONE_MATCH = header(
    "If-None-Match",
    "The last `ETag` received: 304 if the state is the same. With `Prefer: wait=n`, wait until the state differs.",
    {"type": "string"},
    '"1"',
)
ACCEPT = header("Accept", "The media types that the client accepts; ignored with `format`.", {"type": "string"}, "*/*")
IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "For 24 hours, a request with the same key, body and options returns the same job or batch.",
    {"type": "string"},
    "cat-1",
)
CSRF = header(
    CSRF_HEADER,
    "Required with a session only: the value of the cookie `segue_csrf` (over https `__Host-segue_csrf`).",
    {"type": "string"},
    "the cookie's value",
)


def path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": PATHS[name][0], "schema": PATHS[name][1]}


PATHS: dict[str, tuple[str, Schema]] = {
    "job_id": ("The job's `id`.", {"type": "string"}),
    "batch_id": ("The batch's `id`.", {"type": "string"}),
    "session_id": ("The session's `id`.", {"type": "string"}),
    "run_id": ("The run's `id`.", {"type": "string"}),
    "rollout_id": ("The rollout's `id`.", {"type": "string"}),
    "action": ("What to do with it.", {"type": "string", "enum": ["pause", "resume", "promote", "abort"]}),
    "name": ("The part of the `id` before the `/`.", {"type": "string"}),
    "number": ("The part of the `id` after the `/`.", {"type": "string"}),
    "version": ("The part of the `id` after the `/`.", {"type": "string"}),
    "alias": ("The alias to move.", one_of(Alias)),
}


def flat(model: type[BaseModel]) -> Schema:
    """Return the model's schema without titles, and with its references resolved."""
    schema = model.model_json_schema()
    plain: Schema = _plain(schema, schema.get("$defs", {}))
    return plain


def _plain(part: Any, definitions: Schema) -> Any:
    if isinstance(part, list):
        return [_plain(one, definitions) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        rest = {name: value for name, value in part.items() if name != "$ref"}
        return _plain({**definitions[part["$ref"].rpartition("/")[2]], **rest}, definitions)
    titled = isinstance(part.get("title"), str)
    skipped = {"$defs", "title"} if titled else {"$defs"}
    return {name: _plain(value, definitions) for name, value in part.items() if name not in skipped}


def fields_of(model: type[BaseModel]) -> Schema:
    """Return the schema of each field, with a description.

    Optional fields lose `null`, which a form or a query cannot express.
    """
    return {name: _described(name, schema) for name, schema in flat(model)["properties"].items()}


def _described(name: str, schema: Schema) -> Schema:
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**choices[0], **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
    return {"description": MEANINGS[name], **schema} if name in MEANINGS else schema


def query_of(model: type[BaseModel]) -> tuple[Schema, ...]:
    schemas = fields_of(model)
    return tuple(
        query(name, schema.get("description", ""), {k: v for k, v in schema.items() if k != "description"})
        for name, schema in schemas.items()
    )


def form(fields: Schema, required: tuple[str, ...]) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}
