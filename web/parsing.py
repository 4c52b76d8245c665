"""Parses JSON bodies and query parameters. Each function raises Problem that names the first invalid field."""

from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from storage.problems import Problem
from web.errors import invalid

T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], content: bytes) -> T:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise invalid(error) from error


def json_body(kind: type[T], refused: str = "invalid_request") -> T:
    """Parse the body of a request that must be JSON: a form on another site's page cannot send this content type.

    `refused`: the problem code for another media type.
    """
    if request.mimetype != "application/json":
        raise Problem(refused, "Send application/json.")
    return parsed(kind, request.get_data())


def query(kind: type[T]) -> T:
    """Parse the query parameters, each of which may be sent once."""
    if len(list(request.args.items(multi=True))) != len(request.args):
        raise Problem("invalid_request", "A parameter was sent twice.")
    try:
        return kind.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise invalid(error) from error
