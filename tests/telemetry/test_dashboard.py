"""The dashboard's queries and the alerts' series, in a real Prometheus that scrapes a stack at work."""

import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pictures
import pytest
import services
import yaml
from prometheus import Prometheus
from services import ROOT
from stack import Stack

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "segue.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
SERIES = sorted({name for group in RULES for rule in group["rules"] for name in re.findall(r"segue_\w+", rule["expr"])})
PORTS = 10
WAVES, WAVE = 6, 20
ADDED = ("__name__", "instance", "job")  # by Prometheus; here `job` is not one of ours
LABELS = {
    "check", "code", "disk", "feature", "lane", "le", "method", "model", "part", "reason", "result", "role", "route",
    "source", "stage", "status", "task",
}  # fmt: skip


@pytest.fixture(scope="module")
def scraped(prometheus_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with samples of a stack that accepts, refuses, segments and fails."""
    first = services.free_ports(PORTS)
    with (
        Stack(tmp_path_factory.mktemp("scraped"), METRICS_PORT=first, MAX_UPLOAD_BYTES=200_000) as stack,
        Prometheus(tmp_path_factory.mktemp("prometheus"), range(first, first + PORTS)) as made,
    ):
        made.wait_for_scrapes()
        for wave in range(WAVES):
            contents = [pictures.jpeg(640, 480, wave * WAVE + number) for number in range(WAVE)]
            stack.all_finished(stack.submit_all([*contents, pictures.truncated_jpeg()]))
            assert refused(stack).status_code == 413
            time.sleep(1)  # Prometheus needs samples in between
        made.wait_for_scrapes()
        yield made


def refused(stack: Stack) -> httpx.Response:
    return stack.http.post("/v1/jobs", content=b"x" * 300_000, headers={"Content-Type": "image/jpeg"})


def data(scraped: Prometheus, query: str) -> list[dict[str, Any]]:
    """The samples of a query that are numbers: a percentile of nothing is NaN."""
    samples = scraped.query(query.replace("$__rate_interval", "1m"))
    return [sample for sample in samples if not math.isnan(float(sample["value"][1]))]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_dashboard_returns_data(scraped: Prometheus, query: str) -> None:
    assert data(scraped, query)


@pytest.mark.parametrize("name", SERIES)
def test_every_series_of_the_alerts_exists(scraped: Prometheus, name: str) -> None:
    assert data(scraped, name)


def test_a_query_without_data_is_detected(scraped: Prometheus) -> None:
    assert not data(scraped, "rate(segue_no_such_total[$__rate_interval])")
    assert not data(scraped, "histogram_quantile(0.5, rate(segue_request_seconds_bucket{route='none'}[1m]))")


def test_no_alert_fires_on_a_healthy_stack(scraped: Prometheus) -> None:
    """The disk is this machine's, and the test's pictures do not look like photos of pets."""
    assert scraped.query('ALERTS{alertname!~"DiskNearlyFull|InputsDrift"}') == []


def test_the_figures_are_those_of_the_load(scraped: Prometheus) -> None:
    photos, damaged = WAVES * WAVE, WAVES
    for query, expected in {
        'max(segue_jobs_ended_total{status="succeeded"})': photos,
        'max(segue_jobs_failed_total{code="image_decode_failed"})': damaged,
        'max(segue_jobs_accepted_total{source="upload"})': photos + damaged,
        "sum(segue_images_total)": photos,
        "sum(segue_megapixels_total)": pytest.approx(photos * 640 * 480 / 1e6),
        "sum(segue_micro_batch_images_sum)": photos + damaged,
        'sum(segue_stage_seconds_count{stage="store"})': photos + damaged,
        'sum(segue_requests_total{method="POST",route="/v1/jobs",status="202"})': photos + damaged,
        'sum(segue_refusals_total{reason="payload_too_large"})': WAVES,
        "max(segue_workers)": 2,
        'count(segue_process_info{role="worker"})': 2,
    }.items():
        assert scraped.value(query) == expected, query


def test_no_label_names_a_tenant_a_job_or_a_file(scraped: Prometheus) -> None:
    samples = scraped.query('{__name__=~"segue_.*"}')
    labels = {label for sample in samples for label in sample["metric"].items() if label[0] not in ADDED}
    assert {name for name, _ in labels} == LABELS
    assert not [value for _, value in labels if re.search(r"(job|bat)_[0-9a-f]{32}|^local$|jpg", value)]
    assert len(labels) < 200
