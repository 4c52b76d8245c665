"""What a web process counts about its requests."""

import pytest
import redis
import services
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from specs import submit

from storage.connection import Storage, connect
from storage.objects import UPLOADS
from storage.problems import Unavailable
from storage.queue.metrics import QueueMetrics
from web.app import create_app


def sample(name: str, **labels: str) -> float:
    """The current value in this process; 0 if the series does not exist yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Change:
    """The difference of a sample from its value at the creation of this object."""

    def __init__(self, name: str, **labels: str) -> None:
        self._read = lambda: sample(name, **labels)
        self._before = self._read()

    @property
    def value(self) -> float:
        return self._read() - self._before


def test_requests_are_counted_and_timed_by_their_template(client: FlaskClient, connection: Storage) -> None:
    route = {"method": "GET", "route": "/v1/jobs/<job_id>"}
    found, missing = (Change("segue_requests_total", **route, status=status) for status in ("200", "404"))
    timed, seconds = (Change(f"segue_request_seconds_{part}", **route) for part in ("count", "sum"))
    made = submit(connection)
    for job_id in (made.id, made.id, "job_unknown"):
        client.get(f"/v1/jobs/{job_id}")
    assert (found.value, missing.value, timed.value) == (2, 1, 3)
    assert 0 < seconds.value < 60


def test_an_invented_method_or_path_is_no_label(client: FlaskClient) -> None:
    unmatched = Change("segue_requests_total", method="GET", route="unmatched", status="404")
    other = Change("segue_requests_total", method="other", route="unmatched", status="405")
    client.get("/some/where")
    client.open("/v1/jobs", method="BREW")
    assert (unmatched.value, other.value) == (1, 1)


def test_a_request_that_waits_is_counted_but_not_timed(client: FlaskClient, connection: Storage) -> None:
    route = {"method": "GET", "route": "/v1/jobs/<job_id>"}
    counted, timed = (
        Change("segue_requests_total", **route, status="200"),
        Change("segue_request_seconds_count", **route),
    )
    client.get(f"/v1/jobs/{submit(connection).id}", headers={"Prefer": "wait=1"})
    assert (counted.value, timed.value) == (1, 0)


def test_a_refusal_is_counted_by_its_reason(connection: Storage) -> None:
    client = create_app(connection.settings.replace(max_upload_bytes=1000)).test_client()
    refused = Change("segue_refusals_total", reason="payload_too_large")
    for size in (1001, 2000):
        client.post("/v1/jobs", data=b"x" * size, content_type="image/jpeg")
    client.post("/v1/jobs", data=b"not a photo", content_type="image/jpeg")
    assert refused.value == 2


def test_the_api_does_not_serve_metrics(client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 404


def test_calls_that_a_part_failed_are_counted(app: Flask, connection: Storage) -> None:
    nowhere = services.free_ports(1)
    settings = connection.settings.replace(
        redis_url=f"redis://127.0.0.1:{nowhere}/0", s3_url=f"http://127.0.0.1:{nowhere}"
    )
    for online in (True, False):
        gone = connect(settings, online)
        by_redis, by_store = (Change("segue_part_errors_total", part=part) for part in ("redis", "object_store"))
        with pytest.raises(redis.ConnectionError):
            gone.jobs.queue()
        with pytest.raises(redis.ConnectionError):
            gone.jobs.rejected()
        with pytest.raises(Unavailable):
            gone.objects.get(UPLOADS, "x")
        assert (by_redis.value, by_store.value) == (2, 1)


def test_a_missing_object_is_no_error_of_the_store(connection: Storage) -> None:
    by_store = Change("segue_part_errors_total", part="object_store")
    assert connection.objects.get(UPLOADS, "no/such") is None
    assert by_store.value == 0


def test_without_redis_the_scrape_says_so_and_nothing_else(connection: Storage) -> None:
    gone = connect(connection.settings.replace(redis_url=f"redis://127.0.0.1:{services.free_ports(1)}/0"))
    [family] = QueueMetrics(gone.jobs, 1).collect()
    assert [(one.name, one.value) for one in family.samples] == [("segue_redis_up", 0)]
    up = {one.name: one.value for family in QueueMetrics(connection.jobs, 1).collect() for one in family.samples}
    assert up["segue_redis_up"] == 1
    assert up["segue_sweep_age_seconds"] == float("inf"), "no sweep yet"
