"""Counts and times requests by route template, so that no id or file name becomes a label."""

import time

from flask import Flask, Response, g, request

from telemetry import metrics
from web.preferences import preferred_wait
from web.request_log import route

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def register(app: Flask) -> None:
    """Call it before any other function is registered, so that the time of all of them counts.

    `g.began` is the time of the request's log line too.
    """
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    method = request.method if request.method in METHODS else "other"
    labels = method, route() or "unmatched"
    metrics.REQUESTS.labels(*labels, response.status_code).inc()
    if not preferred_wait():
        metrics.REQUEST_SECONDS.labels(*labels).observe(time.perf_counter() - g.began)
    return response
