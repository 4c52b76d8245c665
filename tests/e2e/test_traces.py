"""Spans of the real processes reach a collector: gunicorn's gevent workers, and Celery's child processes."""

from collections.abc import Iterator

import pictures
import pytest
import services
from collector import Collector, collector
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from stack import Stack

TRACE, CALLER = "0af7" * 8, "b7ad" * 4


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def traced(receiver: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "500"}
    with Stack(tmp_path_factory.mktemp("traced"), 1, **env) as made:
        yield made


def submit(stack: Stack, trace: str) -> None:
    headers = {"Content-Type": "image/jpeg", "traceparent": f"00-{trace}-{CALLER}-01"}
    answer = stack.http.post("/v1/jobs", content=pictures.jpeg(), headers=headers)
    assert stack.finished(answer.json())["status"] == "succeeded"


def of(spans: list[Span], trace: str) -> list[Span]:
    return [span for span in spans if span.trace_id.hex() == trace]


def test_one_trace_spans_web_server_and_worker(traced: Stack, receiver: Collector) -> None:
    submit(traced, TRACE)
    services.wait_until(lambda: of(receiver.named("segue-web", "POST /v1/jobs"), TRACE), "the web server's span")
    services.wait_until(lambda: of(receiver.named("segue-worker", "process segment"), TRACE), "the worker's spans")
    [request] = of(receiver.named("segue-web", "POST /v1/jobs"), TRACE)
    [job] = of(receiver.named("segue-worker", "process segment"), TRACE)
    assert job.parent_span_id == request.span_id
    [micro_batch] = [
        span for span in receiver.named("segue-worker", "process segment")
        if request.span_id in {link.span_id for link in span.links}
    ]  # fmt: skip
    services.wait_until(lambda: of(receiver.named("segue-worker", "finish"), micro_batch.trace_id.hex()), "its end")
    assert {span.name for _, span in receiver.spans if span.parent_span_id == micro_batch.span_id} == {
        "claim", "fetch", "decode", "infer", "encode", "store", "finish",
    }  # fmt: skip
