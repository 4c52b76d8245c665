"""Counts and times requests by route template, so that no id or file name becomes a label."""

import time

from flask import Flask, Response, g, request

from telemetry import metrics
from web.preferences import preferred_wait

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def register(app: Flask) -> None:
    """Call it before any other function is registered, so that the time of all of them counts."""
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    method = request.method if request.method in METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "unmatched"
    metrics.REQUESTS.labels(method, route, response.status_code).inc()
    if not preferred_wait():
        metrics.REQUEST_SECONDS.labels(method, route).observe(time.perf_counter() - g.began)
    return response
