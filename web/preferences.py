"""What a client asks of the answer: how long to wait, and what it has seen already."""

import re

from flask import Response, request

LONGEST_WAIT_S = 60
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?=$|[,;\s])")


def preferred_wait() -> int:
    """Seconds of `Prefer: wait=n` (RFC 7240), at most a minute; 0 without."""
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(LONGEST_WAIT_S, int(found.group(1))) if found else 0


def with_state(response: Response, etag: str, wait_s: int) -> Response:
    """Marks the answer with its state; 304 without a body where the client has seen just this one."""
    response.set_etag(etag)
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    if request.method == "GET" and request.if_none_match.contains(etag):
        response.status_code = 304
        response.set_data(b"")
    return response
