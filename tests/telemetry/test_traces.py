"""The spans of one job, with the web app and a pipeline in this process, and the SDK's exporter in memory."""

import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pictures
import pytest
import services
from flask import Flask
from forms import form
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from services import SHIPPED_MODEL

from storage.connection import Storage
from storage.problems import Unavailable
from telemetry import traces
from telemetry.context import trace_id
from telemetry.spans import Recorder, exporting
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

TRACE, CALLER = "0af7" * 8, "b7ad" * 4
PARENT = f"00-{TRACE}-{CALLER}-01"
NAME = "grandmother-at-the-beach.jpg"
STAGES = ["fetch", "decode", "infer", "encode", "store"]


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    traces.use(Recorder("segue-test", SimpleSpanProcessor(made)))
    yield made
    traces.stop()


@pytest.fixture
def app(connection: Storage, exporter: InMemorySpanExporter) -> Flask:
    return create_app(connection.settings)


def submit(app: Flask, traceparent: str = PARENT, content: bytes | None = None) -> dict[str, Any]:
    files = {"image": (io.BytesIO(content or pictures.jpeg()), NAME)}
    headers = {"traceparent": traceparent, "X-Request-ID": "order-4711"}
    answer = app.test_client().post("/v1/jobs", data=files, headers=headers)
    assert answer.status_code == 202
    return dict(answer.get_json())


def work(connection: Storage) -> None:
    connection.models.publish(SHIPPED_MODEL)
    Pipeline(connection, Engines(connection), "worker").run("drainer")


def by_name(exporter: InMemorySpanExporter, trace: str) -> dict[str, ReadableSpan]:
    """The spans of one trace, by name. Fails if two have the same name."""
    found = [one for one in exporter.get_finished_spans() if of(one) == trace]
    names = {one.name: one for one in found}
    assert len(names) == len(found), [one.name for one in found]
    return names


def micro_batch(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, dict[str, ReadableSpan]]:
    """The span of the only micro-batch, and all spans of its trace by name."""
    [whole] = [one for one in exporter.get_finished_spans() if one.name == "process segment" and one.parent is None]
    return whole, by_name(exporter, of(whole))


def after_claim_ms(app: Flask, job: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """When each stage of a job began and ended, in ms after its claim, by its waterfall."""
    rows = {row["stage"]: row for row in app.test_client().get(job["links"]["self"]).get_json()["waterfall"]}
    starts = {stage: rows[stage]["start_ms"] - rows["queued"]["duration_ms"] for stage in STAGES}
    return {stage: (start, start + rows[stage]["duration_ms"]) for stage, start in starts.items()}


def of(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.trace_id:032x}"


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def span_id(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.span_id:016x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time
    assert span.end_time
    return span.start_time, span.end_time


def test_one_trace_follows_a_job(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    job = submit(app)
    work(connection)
    spans = by_name(exporter, TRACE)
    request, processed = spans["POST /v1/jobs"], spans["process segment"]
    assert (parent(request), request.kind) == (CALLER, SpanKind.SERVER)
    assert attributes(request) == {
        "http.request.method": "POST", "http.route": "/v1/jobs", "http.response.status_code": 202,
        "segue.request_id": "order-4711",
    }  # fmt: skip
    assert parent(spans["S3/PutObject"]) == span_id(request)
    assert attributes(spans["S3/PutObject"])["aws.s3.bucket"] == "uploads"
    assert attributes(spans["S3/PutObject"])["rpc.method"] == "S3/PutObject"
    assert (parent(processed), processed.kind) == (span_id(request), SpanKind.CONSUMER)
    assert attributes(processed)["messaging.message.id"] == job["id"]
    assert spans.keys() == {"POST /v1/jobs", "S3/PutObject", "process segment"}


def test_a_job_has_the_durations_of_its_stages(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    job = submit(app)
    work(connection)
    fields = attributes(by_name(exporter, TRACE)["process segment"])
    timings = app.test_client().get(job["links"]["self"]).get_json()["timings_ms"]
    assert {stage: fields[f"segue.{stage}_ms"] for stage in STAGES} == {stage: timings[stage] for stage in STAGES}


def test_a_stage_lies_where_the_waterfalls_say(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    """From the first job's start to the last job's end."""
    jobs = [submit(app), submit(app, content=pictures.jpeg(1600, 1200))]
    work(connection)
    _, spans = micro_batch(exporter)
    claimed_ns = times(spans["claim"])[1]
    rows = [after_claim_ms(app, job) for job in jobs]
    for stage in STAGES:
        begins_ms, ends_ms = ((at_ns - claimed_ns) / 1e6 for at_ns in times(spans[stage]))
        assert begins_ms == pytest.approx(min(row[stage][0] for row in rows), abs=2)
        assert ends_ms == pytest.approx(max(row[stage][1] for row in rows), abs=2)
        assert times(spans["process segment"])[0] <= times(spans[stage])[0]
        assert times(spans[stage])[1] <= times(spans["process segment"])[1] + 1_000_000  # stages are in whole ms


def test_a_micro_batch_is_linked_with_its_jobs(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    other = PARENT.replace(TRACE, "1" * 32)
    submit(app)
    submit(app, other)
    work(connection)
    both = [by_name(exporter, trace) for trace in (TRACE, trace_id(other))]
    jobs, requests = [one["process segment"] for one in both], [one["POST /v1/jobs"] for one in both]
    whole, spans = micro_batch(exporter)
    assert attributes(whole)["messaging.batch.message_count"] == 2
    assert attributes(whole)["segue.model"] == "pets/3"
    assert sorted(f"{link.context.span_id:016x}" for link in whole.links) == sorted(map(span_id, requests))
    assert [link.context for one in jobs for link in one.links] == [whole.context] * 2
    assert spans.keys() == {"process segment", "claim", *STAGES, "finish"}
    assert {parent(span) for name, span in spans.items() if name != "process segment"} == {span_id(whole)}
    assert {attributes(spans[name])["db.system.name"] for name in ("claim", "finish")} == {"redis"}


def test_an_append_has_the_spans_and_lines_of_an_upload(
    app: Flask, connection: Storage, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "web")
    client = app.test_client()
    batch = client.post("/v1/batches", json={"name": "holidays"}).get_json()
    images = form([("image", (name, pictures.jpeg(seed=seed))) for seed, name in enumerate(("1.jpg", "2.jpg"))])
    answer = client.post(batch["links"]["jobs"], headers={"traceparent": PARENT}, **images)
    jobs = {item["job_id"] for item in answer.get_json()["items"]}
    work(connection)
    mine = [one for one in exporter.get_finished_spans() if of(one) == TRACE]
    [request] = [one for one in mine if one.kind is SpanKind.SERVER]
    stored = [one for one in mine if one.name == "S3/PutObject" and attributes(one)["aws.s3.bucket"] == "uploads"]
    processed = [one for one in mine if one.name == "process segment"]
    assert len(stored) == len(processed) == 2
    assert {parent(one) for one in (*stored, *processed)} == {span_id(request)}
    assert {attributes(one)["messaging.message.id"] for one in processed} == jobs
    assert {vars(one)["job"] for one in caplog.records if one.message == "job_accepted"} == jobs


def test_a_failed_job_has_its_code(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    submit(app, content=pictures.truncated_jpeg())
    work(connection)
    processed = by_name(exporter, TRACE)["process segment"]
    assert processed.status.status_code is StatusCode.ERROR
    assert attributes(processed)["error.type"] == "image_decode_failed"


def test_an_outage_is_an_error_without_its_text(
    app: Flask, connection: Storage, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise Unavailable(f"cannot store {NAME}")

    monkeypatch.setattr(app.extensions["storage"].objects._client, "put_object", down)
    answer = app.test_client().post("/v1/jobs", data=pictures.jpeg(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 503
    spans = {one.name: one for one in exporter.get_finished_spans()}
    assert attributes(spans["S3/PutObject"])["error.type"] == "Unavailable"
    assert attributes(spans["POST /v1/jobs"])["error.type"] == "503"
    assert {spans[name].status.status_code for name in ("S3/PutObject", "POST /v1/jobs")} == {StatusCode.ERROR}
    assert not any(one.events for one in spans.values())


def test_spans_contain_no_names(app: Flask, connection: Storage, exporter: InMemorySpanExporter) -> None:
    submit(app)
    work(connection)
    app.test_client().get(f"/v1/jobs/{NAME}")
    app.test_client().get(f"/{NAME}")
    text = "".join(one.to_json() for one in exporter.get_finished_spans())
    assert "GET /v1/jobs/<job_id>" in text
    assert not [word for word in (NAME, "127.0.0.1", "local/") if word in text]


def test_a_trace_that_its_caller_does_not_record_has_no_spans(
    app: Flask, connection: Storage, exporter: InMemorySpanExporter
) -> None:
    submit(app, PARENT.removesuffix("1") + "0")
    work(connection)
    assert [one.name for one in exporter.get_finished_spans() if of(one) == TRACE] == []


def test_a_job_remembers_the_span_of_its_request(
    app: Flask, connection: Storage, exporter: InMemorySpanExporter
) -> None:
    stored = connection.jobs.get(submit(app)["id"])
    assert stored
    request = by_name(exporter, TRACE)["POST /v1/jobs"]
    assert stored.spec.traceparent == f"00-{TRACE}-{span_id(request)}-01"


def test_probes_and_work_without_a_request_begin_no_trace(
    app: Flask, connection: Storage, exporter: InMemorySpanExporter
) -> None:
    app.test_client().get("/healthz")
    connection.jobs.sweep("token")
    assert exporter.get_finished_spans() == ()


def test_without_tracing_the_callers_trace_is_remembered(connection: Storage) -> None:
    stored = connection.jobs.get(submit(create_app(connection.settings))["id"])
    assert stored
    assert stored.spec.traceparent == PARENT


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    """redis imports the metrics of an installed SDK, but neither its traces nor the exporter."""
    code = (
        "import sys; from web.app import create_app; create_app(); import worker.tasks, worker.pipeline.pipeline;"
        "assert not {'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'telemetry.spans'} & sys.modules.keys()"
    )
    env = services.environment(S3_SECRET_KEY="secret", PYTHONPATH=services.PYTHONPATH)
    subprocess.run([sys.executable, "-c", code], cwd=services.ROOT, env=env, check=True)


def test_a_missing_package_is_reported_at_start(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telemetry.spans", None)
    with pytest.raises(SystemExit, match=r"install segue\[traces\]"):
        create_app(connection.settings.replace(otel_exporter_otlp_endpoint="http://127.0.0.1:9"))


def test_a_collector_that_is_down_fails_no_request(connection: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    traces.use(exporting(f"http://127.0.0.1:{services.free_ports(1)}", "segue-test"))
    try:
        submit(create_app(connection.settings))
    finally:
        traces.stop()
