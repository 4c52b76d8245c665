"""The log lines of requests."""

import logging
import time

from flask import Flask, Response, g, request

from storage.job import Spec, tenant_digest
from telemetry import logs
from telemetry.context import trace_id
from web.access.auth import SAFE

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_unbind)


def route() -> str:
    """The request's route with its parameters as placeholders; "" if it matches none. A path may contain a name."""
    return request.url_rule.rule if request.url_rule else ""


def accepted(spec: Spec) -> None:
    log.info("job_accepted", extra=spec.log_fields)


def _begin() -> None:
    logs.bind(request_id=g.request_id, trace_id=trace_id(g.traceparent))


def _end(response: Response) -> Response:
    fields = {"method": request.method, "route": route(), "status": response.status_code}
    if "caller" in g:
        fields["tenant"] = tenant_digest(g.caller.tenant)
    fields["ms"] = round((time.perf_counter() - g.began) * 1000)
    # Clients poll with safe methods: their lines are for debugging.
    log.log(logging.DEBUG if request.method in SAFE else logging.INFO, "request_handled", extra=fields)
    return response


def _unbind(_: BaseException | None) -> None:
    logs.bind()
