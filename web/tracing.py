"""The span of each request. The jobs that a request creates, and its log lines, name it as their parent."""

from flask import Flask, Response, g, request

from telemetry import traces
from web.request_log import route

UNTRACED = {"health.healthz", "health.readyz", "static"}  # probed every few seconds, and no work


def register(app: Flask) -> None:
    """Does nothing if this process sends no traces."""
    if traces.recorder():
        app.before_request(_begin)
        app.after_request(_note_status)
        app.teardown_request(_end)


def _begin() -> None:
    recorder = traces.recorder()
    if recorder and request.endpoint not in UNTRACED:
        g.span = recorder.begin_request(request.method, route(), g.traceparent, g.request_id)
        g.traceparent = g.span.traceparent


def _note_status(response: Response) -> Response:
    g.status = response.status_code
    return response


def _end(_: BaseException | None) -> None:
    recorder = traces.recorder()
    if recorder and "span" in g:
        recorder.end_request(g.pop("span"), g.get("status", 500))
