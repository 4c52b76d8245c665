"""A session by cookie, for the page: <img> and EventSource send no `Authorization`."""

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.problems import Problem
from web.access.auth import check_origin
from web.access.credentials import address, given_key, verify
from web.access.sessions import begin_anonymous, begin_for_key, check_csrf, drop_cookies, end, give_csrf, held
from web.errors import invalid
from web.services import connected, rate_limits

LONGEST_BODY = 4096

blueprint = Blueprint("session", __name__, url_prefix="/session")


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str


@blueprint.post("")
def create() -> Response:
    """For a key; on a public page also without one, as a tenant of one's own."""
    check_origin()
    text = given_key()
    if text is None:
        text = _key_in_body()
    if text is not None:
        key = verify(text)
        rate_limits().take_session(address())
        begin_for_key(key)
    elif connected().settings.public_page:
        found = held()
        if found and found.caller.anonymous:  # another tab was first
            give_csrf(found)
        else:
            rate_limits().take_session(address())
            begin_anonymous()
    else:
        raise Problem("unauthorized", "Send the key: `Authorization: Bearer seg_…`, or as JSON.")
    return Response(status=204)


@blueprint.delete("")
def remove() -> Response:
    check_origin()
    if found := held():
        check_csrf(found)
        end(found)
    drop_cookies()
    return Response(status=204)


def _key_in_body() -> str | None:
    """None where there is no body."""
    request.max_content_length = LONGEST_BODY
    body = request.get_data()
    if not body:
        return None
    if request.mimetype != "application/json":
        raise Problem("invalid_request", "Send application/json.")
    try:
        return Entry.model_validate_json(body).key
    except ValidationError as error:
        raise invalid(error) from error
