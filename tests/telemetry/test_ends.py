"""What a process that ends still sends and writes: gunicorn's gevent worker, and the child of a Celery worker."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pictures
import pytest
import services
from collector import Collector, collector
from services import SHIPPED_MODEL

from storage.connection import Storage
from storage.records.audit import AuditFilter

NEVER_MS = 3_600_000  # until the next export: spans that arrive were sent at the end


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


def test_the_last_spans_and_audit_events_are_kept(connection: Storage, receiver: Collector, tmp_path: Path) -> None:
    connection.models.publish(SHIPPED_MODEL)
    port = services.free_ports(1)
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": NEVER_MS}
    env = services.joining(connection.settings, PORT=port, PYTHONPATH=services.PYTHONPATH, **tracing)
    web = services.start(services.procfile("web"), env, port, tmp_path / "web.log")
    worker = services.spawn(services.procfile("worker"), env, tmp_path / "worker.log")
    try:
        content, headers = pictures.jpeg(), {"Content-Type": "image/jpeg", "Prefer": "wait=60"}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/jobs", content=content, headers=headers, timeout=70)
        job = answer.json()
        assert job["status"] == "succeeded"
        assert httpx.delete(f"http://127.0.0.1:{port}{job['links']['self']}").status_code == 204
        assert receiver.spans == []
    finally:
        web.stop()
        worker.stop()
    assert len(receiver.named("segue-web", "POST /v1/jobs")) == 1
    assert len(receiver.named("segue-worker", "store")) == 1
    assert job["id"] in [event.event.target for event in connection.audit.newest(AuditFilter(), 10)]
    assert "Traceback" not in (tmp_path / "web.log").read_text() + (tmp_path / "worker.log").read_text()
