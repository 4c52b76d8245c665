"""What is said about one route beyond its path and method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from web.openapi.schemas import Schema, closed, ref

JSON, NDJSON, PROBLEM = "application/json", "application/x-ndjson", "application/problem+json"
STATE = ("ETag",)
WAITED = ("Retry-After", "Preference-Applied")
BINARY: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """`content`: media type → schema, empty for an answer without a body. `headers`: always sent, but `optional`."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Body:
    """Of a request. `content`: media type → schema."""

    content: Mapping[str, Schema]
    required: bool = True


@dataclass(frozen=True)
class Operation:
    """`summary`: where the view's docstring would not do. `problems`: the codes of its own; web/openapi/rendering.py
    adds what any route can answer. `parameters`: query and headers; those of the path follow from the route.
    """

    tag: str
    answers: Mapping[int, Answer]
    problems: tuple[str, ...] = ()
    parameters: tuple[Schema, ...] = ()
    body: Body | None = None
    summary: str = ""


def one_state(description: str, document: str) -> dict[int, Answer]:
    """What a GET with `Prefer: wait=n` and `If-None-Match` answers."""
    return {
        200: Answer(description, {JSON: ref(document)}, STATE, WAITED),
        304: Answer("It is as it was.", headers=STATE, optional=WAITED),
    }


def events(description: str, document: str, names: Sequence[str], event_id: str) -> dict[int, Answer]:
    """A stream of server-sent events, each with the document as its data."""
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
