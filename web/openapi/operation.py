"""What is said about one route beyond its path and method."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from web.schemas import Schema

JSON, NDJSON, PROBLEM = "application/json", "application/x-ndjson", "application/problem+json"
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


Operations = dict[str, Operation]  # by the route's endpoint
