"""Makes spans with the OpenTelemetry SDK. Names and attributes follow its semantic conventions.

Spans contain no paths, object keys, tenants or addresses of clients: a backend may keep them for
longer than Segue keeps a job.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EXPORT_S = 3.0  # per request to the collector; it also bounds how long the end of a process takes
SERVER_ERROR = 500
MESSAGING = "segue"  # the conventions have no name for the pending set

Attributes = Mapping[str, str | int]
S3: Attributes = {"rpc.system.name": "aws-api"}
REDIS: Attributes = {"db.system.name": "redis", "db.operation.name": "FCALL"}
QUEUE: Attributes = {"messaging.system": MESSAGING, "messaging.destination.name": "segment"}

_w3c = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Request:
    """The span of a request that is being handled."""

    span: Span
    token: object

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _w3c.inject(carrier, trace.set_span_in_context(self.span))
        return carrier["traceparent"]


def exporting(endpoint: str, service: str) -> "Recorder":
    """Return a recorder that sends its spans in the background. The SDK reads the other OTEL_ variables."""
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    return Recorder(service, BatchSpanProcessor(exporter))


class Recorder:
    """Makes the spans of one process."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        instance = f"{socket.gethostname()}-{os.getpid()}"
        resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("segue")

    def stop(self) -> None:
        self._provider.shutdown()

    def begin_request(self, method: str, route: str, traceparent: str, request_id: str) -> Request:
        """Begin the span of a request, in the trace of its caller, if it names one. Call `end_request` afterwards."""
        attributes = {"http.request.method": method, "http.route": route, "segue.request_id": request_id}
        span = self._tracer.start_span(
            f"{method} {route}".strip(), context_of(traceparent), SpanKind.SERVER, attributes
        )
        return Request(span, attach(trace.set_span_in_context(span)))

    def end_request(self, request: Request, status: int) -> None:
        request.span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            request.span.set_status(StatusCode.ERROR)
            request.span.set_attribute("error.type", str(status))
        detach(request.token)  # type: ignore[arg-type]
        request.span.end()

    @contextmanager
    def s3(self, operation: str, bucket: str) -> Iterator[None]:
        """A span below the current one; nothing without a current one, so that no work begins a trace by itself."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return
        attributes = {**S3, "rpc.method": f"S3/{operation}", "aws.s3.bucket": bucket}
        span = self._tracer.start_span(f"S3/{operation}", kind=SpanKind.CLIENT, attributes=attributes)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except Exception as error:
                # Without the exception's text, which may contain a name.
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__name__)
                raise

    def past(
        self,
        name: str,
        parent: Context,
        times_ns: tuple[int, int],
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        error: str = "",
    ) -> Context:
        """Record a span that has ended. `times_ns`: start and end, since 1970. Returns the context for its children."""
        start_ns, end_ns = times_ns
        span = self._tracer.start_span(name, parent, kind, attributes, [Link(one) for one in links], start_ns)
        if error:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", error)
        span.end(end_ns)
        return trace.set_span_in_context(span, Context())


def context_of(traceparent: str) -> Context:
    """The context that a `traceparent` names; an empty one for "" ."""
    return _w3c.extract({"traceparent": traceparent}, Context())


def span_of(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()
