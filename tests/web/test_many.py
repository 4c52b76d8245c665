"""GET /v1/jobs?ids=: many jobs at once, from Redis."""

from collections.abc import Callable

import pictures
import pytest
from flask.testing import FlaskClient
from specs import submit
from werkzeug.test import TestResponse

from storage import keys
from storage.connection import Storage

UUID7 = f"{1:012x}7{2:03x}8{3:015x}"

Work = Callable[[], None]


def ask(client: FlaskClient, *ids: str) -> TestResponse:
    return client.get("/v1/jobs", query_string={"ids": ",".join(ids)})


def test_jobs_are_returned_in_the_order_of_the_request(client: FlaskClient, connection: Storage, work: Work) -> None:
    done = submit(connection, pictures.jpeg())
    work()
    waiting = submit(connection, pictures.jpeg())
    answer = ask(client, waiting.id, done.id, waiting.id)
    document = answer.get_json()
    assert [(job["id"], job["status"]) for job in document["data"]] == [(waiting.id, "queued"), (done.id, "succeeded")]
    assert document["missing"] == []
    assert int(answer.headers["Retry-After"]) >= 1
    assert document["data"][1] == client.get(f"/v1/jobs/{done.id}").get_json()
    assert "Retry-After" not in ask(client, done.id).headers


def test_unknown_erased_and_others_jobs_are_missing_alike(client: FlaskClient, connection: Storage) -> None:
    mine, other, erased = submit(connection), submit(connection, tenant="other"), submit(connection)
    assert client.delete(f"/v1/jobs/{erased.id}").status_code == 204
    unknown = keys.new_job_id()
    document = ask(client, other.id, unknown, mine.id, erased.id).get_json()
    assert [job["id"] for job in document["data"]] == [mine.id]
    assert document["missing"] == [other.id, unknown, erased.id]


def test_jobs_that_redis_lost_are_returned_too(client: FlaskClient, connection: Storage, work: Work) -> None:
    done, waiting = submit(connection, pictures.jpeg()), None
    work()
    waiting = submit(connection, pictures.jpeg())
    connection.jobs.client.flushall()
    document = ask(client, done.id, waiting.id).get_json()
    assert [job["status"] for job in document["data"]] == ["succeeded", "queued"]


def test_two_hundred_take_one_round_trip(
    client: FlaskClient, connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [submit(connection, pictures.jpeg()) for _ in range(3)]
    connection.jobs.look_many([spec.id for spec in made])  # caches the run id
    asked: list[int] = []
    pipeline = connection.jobs.client.pipeline
    monkeypatch.setattr(
        connection.jobs.client,
        "pipeline",
        lambda **how: asked.append(1) or pipeline(**how),  # type: ignore[func-returns-value]
    )
    jobs, intact = connection.jobs.look_many([spec.id for spec in made])
    assert (len(jobs), intact, len(asked)) == (3, True, 1)


@pytest.mark.parametrize("ids", ["", "job_1", "a,b", f"job_{UUID7},", f"bat_{UUID7}"])
def test_an_invalid_id_is_named(client: FlaskClient, ids: str) -> None:
    answer = client.get("/v1/jobs", query_string={"ids": ids})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")


def test_too_many_ids_and_other_parameters_are_refused(client: FlaskClient) -> None:
    assert ask(client, *(keys.new_job_id() for _ in range(201))).status_code == 400
    both = client.get("/v1/jobs", query_string={"ids": keys.new_job_id(), "status": "queued"})
    assert both.status_code == 400
