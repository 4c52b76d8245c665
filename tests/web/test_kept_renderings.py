"""Renderings are made once, cached up to a limit, and erased with their job."""

from collections.abc import Callable
from typing import Any

import gevent
import pictures
import pytest
from callers import bearer, guarded, new_key
from flask import Flask
from flask.testing import FlaskClient

from storage import renderings as kept_renderings
from storage.connection import Storage
from storage.objects import RENDERINGS, RESULTS
from storage.problems import Unavailable
from web.rendering import renderings

Work = Callable[[], None]
MADE = ("overlay", "cutout", "image", "rle")


@pytest.fixture
def job(client: FlaskClient, work: Work) -> dict[str, Any]:
    made = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()
    work()
    return dict(client.get(made["links"]["self"]).get_json())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the renderings made, in order."""
    calls: list[str] = []
    for name in MADE:
        real = getattr(renderings, name)

        def counted(*arguments: Any, name: str = name, real: Callable[..., bytes] = real) -> bytes:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(renderings, name, counted)
    return calls


def cached_renderings(connection: Storage, job: dict[str, Any]) -> list[str]:
    return [one.key for one in connection.objects.listing(RENDERINGS, f"local/{job['id']}/")]


def test_a_cached_rendering_is_served_again(client: FlaskClient, job: dict[str, Any], made: list[str]) -> None:
    for name in MADE:
        first, second = client.get(job["links"][name]), client.get(job["links"][name])
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.data == second.data
        assert first.headers["Repr-Digest"] == second.headers["Repr-Digest"]
    assert made == list(MADE)
    assert client.get(f"{job['links']['overlay']}&alpha=0.1").status_code == 200
    assert made == [*MADE, "overlay"]


def test_concurrent_requests_make_a_rendering_once(app: Flask, job: dict[str, Any], made: list[str]) -> None:
    asked = [gevent.spawn(lambda: app.test_client().get(job["links"]["overlay"]).status_code) for _ in range(6)]
    gevent.joinall(asked, timeout=60)
    assert [one.value for one in asked] == [200] * 6
    assert len(made) <= 2  # two run at the same time


def test_a_cached_rendering_does_not_count_against_the_rate_limit(connection: Storage, work: Work) -> None:
    client = guarded(connection, limit_key="2/hour").test_client()
    key = bearer(new_key(connection))
    job = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg", headers=key).get_json()
    work()
    path = f"/v1/jobs/{job['id']}/mask?format=overlay"
    assert [client.get(path, headers=key).status_code for _ in range(5)] == [200] * 5


def test_the_number_of_cached_renderings_is_bounded(
    connection: Storage, client: FlaskClient, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(kept_renderings.MOST_PER_JOB + 3):
        assert client.get(f"{job['links']['overlay']}&alpha=0.{number + 10}").status_code == 200
    assert len(cached_renderings(connection, job)) == kept_renderings.MOST_PER_JOB
    monkeypatch.setattr(kept_renderings, "MOST_BYTES", 10)
    monkeypatch.setattr(kept_renderings, "MOST_PER_JOB", 100)
    assert client.get(job["links"]["cutout"]).status_code == 200
    assert len(cached_renderings(connection, job)) == 8


def test_cached_renderings_are_erased_with_their_job(
    connection: Storage, client: FlaskClient, job: dict[str, Any]
) -> None:
    for name in MADE:
        client.get(job["links"][name])
    assert len(cached_renderings(connection, job)) == len(MADE)
    assert client.delete(job["links"]["self"]).status_code == 204
    assert cached_renderings(connection, job) == []
    assert client.get(job["links"]["overlay"]).status_code == 410


def test_a_job_erased_during_a_rendering_leaves_nothing_behind(
    connection: Storage, client: FlaskClient, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = renderings.overlay

    def then_erased(*arguments: Any) -> bytes:
        content = real(*arguments)
        assert client.delete(job["links"]["self"]).status_code == 204
        return content

    monkeypatch.setattr(renderings, "overlay", then_erased)
    client.get(job["links"]["overlay"])
    assert cached_renderings(connection, job) == []


def test_no_cached_rendering_of_an_erased_job_is_served(
    connection: Storage, client: FlaskClient, job: dict[str, Any]
) -> None:
    assert client.get(job["links"]["overlay"]).status_code == 200
    record = connection.jobs.get(job["id"])
    assert record is not None
    connection.objects.remove(RESULTS, record.result_key)
    answer = client.get(job["links"]["overlay"])
    assert (answer.status_code, answer.get_json()["code"]) == (410, "gone")


def test_a_rendering_that_cannot_be_cached_is_still_served(
    app: Flask, connection: Storage, client: FlaskClient, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("object store: down")

    monkeypatch.setattr(app.extensions["storage"].objects, "put", down)
    assert client.get(job["links"]["overlay"]).status_code == 200
    assert cached_renderings(connection, job) == []
