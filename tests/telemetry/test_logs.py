"""The form of log lines, and that the content of a request forges none."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from telemetry import logs
from telemetry.context import trace_id, valid

TRACE, CALLER = "0af7" * 8, "b7ad" * 4
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture(autouse=True)
def unbound() -> Iterator[None]:
    yield
    logs.bind()


def line(form: logs.Format, name: str = "web.errors", message: str = "request_failed", **fields: object) -> str:
    """What a handler writes for one event."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter(form))
    record = logging.LogRecord(name, logging.WARNING, "", 0, message, None, None)
    vars(record).update(fields)
    handler.handle(record)
    return written.getvalue().removesuffix("\n")


def test_a_line_of_text() -> None:
    time, rest = line("text", job="job_1", error="it is gone", ms=3).split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'WARNING web.errors request_failed job=job_1 error="it is gone" ms=3'


def test_a_line_of_json() -> None:
    fields = json.loads(line("json", job="job_1", error="it is gone", ms=3))
    assert list(fields) == ["time", "level", "logger", "event", "job", "error", "ms"]
    assert (fields["level"], fields["event"], fields["error"], fields["ms"]) == (
        "WARNING", "request_failed", "it is gone", 3,
    )  # fmt: skip


def test_lines_carry_the_ids_of_their_request() -> None:
    logs.bind(request_id="r-1", trace_id="")
    fields = json.loads(line("json"))
    assert fields["request_id"] == "r-1"
    assert "trace_id" not in fields
    logs.bind()
    assert "request_id" not in json.loads(line("json"))


def test_a_line_of_a_library_keeps_its_text() -> None:
    logs.bind(request_id="r-1")
    fields = json.loads(line("json", "celery.worker", "host ready.", data="from the library"))
    assert (fields["event"], fields["message"]) == ("message", "host ready.")
    assert not fields.keys() & {"request_id", "data"}


@pytest.mark.parametrize("evil", ["a\r\n2026-01-01T00:00:00.000Z INFO web forged", "a\x85b\u2028c", "\x1b[31m\u202e"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_forges_no_line(form: logs.Format, evil: str) -> None:
    for written in (line(form, error=evil), line(form, "celery", evil), line(form, message=evil)):
        assert len(written.splitlines()) == 1
        assert not logs.CONTROL.search(written)


def test_a_traceback_forges_no_line() -> None:
    try:
        raise ValueError("a\n2026-01-01T00:00:00.000Z WARNING web forged\x1b")
    except ValueError:
        text, as_json = (line(form, exc_info=sys.exc_info()) for form in ("text", "json"))  # type: ignore[arg-type]
    first, *rest = text.split("\n")
    assert first.endswith("request_failed")
    assert rest
    assert all(one.startswith("  | ") and "\x1b" not in one for one in rest)
    assert "Traceback" in json.loads(as_json)["exception"]


@pytest.mark.parametrize(
    "given", [
        "", PARENT.upper(), PARENT[:-1], PARENT + "-00", PARENT + "\n", "ff" + PARENT[2:],
        PARENT.replace(CALLER, "0" * 16), "00-" + "0" * 32 + PARENT[35:],
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_ignored(given: str) -> None:
    assert valid(given) == ""


def test_a_well_formed_traceparent_names_its_trace() -> None:
    assert trace_id(valid(PARENT)) == TRACE
    assert trace_id("") == ""
