"""Parameters, and what pydantic models become: a query's parameters, a body's schema."""

from typing import Any

from pydantic import BaseModel

from storage.models import Alias
from web.access.sessions import CSRF_HEADER
from web.openapi.schemas import Schema
from web.preferences import LONGEST_WAIT_S

MEANINGS = {
    "priority": "The lane: interactive jobs go first.",
    "deadline_s": "Seconds after which the job ends as `expired`.",
    "model": "An alias or a version, as GET /v1/models lists them.",
    "status": "Only jobs of this status.",
    "batch_id": "Only jobs of this batch.",
    "created_after": "Only jobs that were accepted later.",
    "tags": "Up to 20 words with commas between.",
    "limit": "The most jobs on a page.",
    "cursor": "The `next_cursor` of the page before.",
}


def header(name: str, description: str, schema: Schema, example: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


def query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


PREFER = header(
    "Prefer",
    f"`wait=n` (RFC 7240): answer when it has ended, after n seconds at the latest, {LONGEST_WAIT_S} at most.",
    {"type": "string"},
    "wait=1",
)
IF_NONE_MATCH = header(
    "If-None-Match",
    "The `ETag` that is known already: 304 where it still holds. With `Prefer: wait=n`, what to wait for a change of.",
    {"type": "string"},
    '"1"',
)
ACCEPT = header("Accept", "What the client understands, where `format` does not say.", {"type": "string"}, "*/*")
IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "The same key with the same body and options gives the same job or batch for 24 hours.",
    {"type": "string"},
    "cat-1",
)
CSRF = header(
    CSRF_HEADER,
    "With a session only: the value of the cookie `segue_csrf` (over https `__Host-segue_csrf`).",
    {"type": "string"},
    "the cookie's value",
)


def path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": PATHS[name][0], "schema": PATHS[name][1]}


PATHS: dict[str, tuple[str, Schema]] = {
    "job_id": ("The job's `id`.", {"type": "string"}),
    "batch_id": ("The batch's `id`.", {"type": "string"}),
    "session_id": ("The session's `id`.", {"type": "string"}),
    "alias": ("The name whose meaning changes.", {"type": "string", "enum": [alias.value for alias in Alias]}),
}


def flat(model: type[BaseModel]) -> Schema:
    """The model's schema without references and titles."""
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
    """Field → schema, each with its meaning. What may be left out may not be sent as null in a form or a query."""
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
