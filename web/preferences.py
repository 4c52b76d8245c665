"""Conditional and long-poll requests: `Prefer: wait=n` and `If-None-Match`."""

import re

from flask import Response, request

LONGEST_WAIT_S = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?=$|[,;\s])")


def preferred_wait() -> int:
    """Return the seconds of `Prefer: wait=n` (RFC 7240), at most 60; 0 without the header."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(LONGEST_WAIT_S, int(found.group(1))) if found else 0


def with_state(response: Response, etag: str, wait_s: int) -> Response:
    """Add the ETag; make it a 304 without a body if `If-None-Match` already names this state.

    `wait_s`: the wait in effect, for `Preference-Applied`; 0 adds no such header.
    """
    response.set_etag(etag)
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    if request.method == "GET" and request.if_none_match.contains(etag):
        response.status_code = 304
        response.set_data(b"")
    return response
