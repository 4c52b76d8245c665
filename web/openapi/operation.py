"""The description of one route, beyond what its path and method say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from web.openapi.json_schema import Schema, closed, ref

JSON, NDJSON, PROBLEM = "application/json", "application/x-ndjson", "application/problem+json"
STATE = ("ETag",)
WAITED = ("Retry-After", "Preference-Applied")
BINARY: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """A response. `content`: media type → schema, empty without a body.

    `headers`: those that are always sent. `optional`: those that are sent sometimes.
    """

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Body:
    """A request body. `content`: media type → schema."""

    content: Mapping[str, Schema]
    required: bool = True


@dataclass(frozen=True)
class Operation:
    """One operation.

    `summary`: replaces the first paragraph of the view's docstring. `problems`: the route's own codes;
    web/openapi/rendering.py adds those of every route. `parameters`: query and headers; the route
    determines the path parameters.
    """

    tag: str
    answers: Mapping[int, Answer]
    problems: tuple[str, ...] = ()
    parameters: tuple[Schema, ...] = ()
    body: Body | None = None
    summary: str = ""


def one_state(description: str, document: str) -> dict[int, Answer]:
    """Return the responses to a GET that supports `Prefer: wait=n` and `If-None-Match`."""
    return {
        200: Answer(description, {JSON: ref(document)}, STATE, WAITED),
        304: Answer("Not modified.", headers=STATE, optional=WAITED),
    }


def events(description: str, document: str, names: Sequence[str], event_id: str) -> dict[int, Answer]:
    """Return the response of an event stream; the data of each event is `document` as JSON."""
    event = closed(
        {
            "id": {"type": "string", "description": event_id},
            "event": {"type": "string", "enum": list(names)},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": ref(document)},
        },
        description="One event.",
    )
    return {200: Answer(description, {"text/event-stream": event}, ("X-Accel-Buffering",))}


Operations = dict[str, Operation]  # by the route's endpoint
