"""The page's cookie session, because <img> and EventSource cannot send `Authorization`."""

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict

from storage.problems import Problem
from web.access.auth import check_origin
from web.access.credentials import address, given_key, verify
from web.access.sessions import (
    begin_anonymous,
    begin_for_key,
    check_csrf,
    current_session,
    drop_cookies,
    end,
    give_csrf,
)
from web.parsing import json_body
from web.services import connected, rate_limits

LONGEST_BODY = 4096

blueprint = Blueprint("session", __name__, url_prefix="/session")


class SessionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str


@blueprint.post("")
def create() -> Response:
    """Begin a session for a key; on a public page also without one, for a new anonymous tenant."""
    check_origin()
    text = given_key()
    if text is None:
        text = _key_in_body()
    if text is not None:
        key = verify(text)
        rate_limits().take_session(address())
        begin_for_key(key)
    elif connected().settings.public_page:
        found = current_session()
        if found and found.caller.anonymous:  # another tab began it
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
    if found := current_session():
        check_csrf(found)
        end(found)
    drop_cookies()
    return Response(status=204)


def _key_in_body() -> str | None:
    """Return the key in the JSON body, None without a body. Raises Problem."""
    request.max_content_length = LONGEST_BODY
    return json_body(SessionRequest).key if request.get_data() else None
