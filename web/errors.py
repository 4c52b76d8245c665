"""Error handlers: every error becomes application/problem+json (RFC 9457) without internal details."""

import json
import logging

import redis
from flask import Flask, Response, g, request
from gunicorn.http.errors import NoMoreData, ParseException
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from storage.problems import KINDS, Problem, ProblemDocument, Unavailable
from telemetry.metrics import REFUSALS
from web.request_log import route

OUTAGE_RETRY_S = 2
ADMISSION = {
    "queue_full", "not_accepting", "quota_exceeded", "rate_limited", "too_many_at_once", "payload_too_large",
    "request_timeout",
}  # fmt: skip
# For the exceptions that Flask and Werkzeug raise themselves.
CODES_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 415: "unsupported_media_type"}

for _reason in ADMISSION:
    REFUSALS.labels(_reason)  # counted from 0

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    app.register_error_handler(Problem, answer)
    app.register_error_handler(Unavailable, _outage)
    app.register_error_handler(redis.RedisError, _outage)
    app.register_error_handler(HTTPException, _http)
    for broken in (ParseException, NoMoreData, ConnectionError):
        app.register_error_handler(broken, _broken_body)
    app.register_error_handler(Exception, _bug)


def invalid(error: ValidationError) -> Problem:
    """Return a Problem that names the first invalid field and does not repeat the sent value."""
    first = error.errors(include_url=False, include_input=False)[0]
    where, message = ".".join(str(part) for part in first["loc"])[:64], first["msg"].removeprefix("Value error, ")
    return Problem("invalid_request", f"{where}: {message}" if where else message)


def answer(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    if problem.code in ADMISSION:
        REFUSALS.labels(problem.code).inc()
    document = problem.to_dict(request.script_root + request.path, g.get("request_id"))
    response = problem_response(document)
    response.headers.update(headers or {})
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def problem_response(document: ProblemDocument) -> Response:
    return Response(json.dumps(document), document["status"], content_type="application/problem+json")


def _outage(error: Exception) -> Response:
    log.warning("request_unavailable", extra={"method": request.method, "route": route(), "error": str(error)})
    return answer(Problem("unavailable", "Try again shortly; nothing was lost.", OUTAGE_RETRY_S))


def _broken_body(error: Exception) -> Response:
    """gunicorn raises `error` while we read: a malformed chunk, or a client that disconnected."""
    fields = {"method": request.method, "route": route(), "error": type(error).__name__}
    log.info("body_incomplete", extra=fields)
    return answer(Problem("invalid_request", "The body is malformed or incomplete."))


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status >= 500:
        return _bug(error)
    code = CODES_BY_STATUS.get(status, "invalid_request")
    allowed = error.valid_methods if isinstance(error, MethodNotAllowed) else None
    return answer(Problem(code, KINDS[code].title + "."), {"Allow": ", ".join(allowed)} if allowed else {})


def _bug(error: Exception) -> Response:
    log.error("request_failed", extra={"method": request.method, "route": route()}, exc_info=error)
    return answer(Problem("internal", "The error was logged with this request id."))
