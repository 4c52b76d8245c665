"""GET /v1/jobs/{id}/events: the current state, then each change, then the end."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pictures
import pytest
from flask.testing import FlaskClient
from specs import submit

from storage.connection import Storage
from web import streams
from web.app import create_app

Work = Callable[[], None]


def parse_events(lines: Iterator[bytes]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (id, name, document) of each event, without pings."""
    for chunk in lines:
        fields = dict(line.split(": ", 1) for line in chunk.decode().strip().split("\n") if not line.startswith(":"))
        if fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])


def test_each_change_until_the_end(client: FlaskClient, connection: Storage, work: Work) -> None:
    spec = submit(connection, pictures.jpeg())
    answer = client.get(f"/v1/jobs/{spec.id}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = parse_events(iter(answer.response))
    event_id, name, document = next(events)
    assert (event_id, name) == (str(document["revision"]), "job.queued")
    assert document["queue"]["position"] == 0
    work()
    rest = list(events)
    assert rest[-1][1] == "job.succeeded"
    assert rest[-1][2] == client.get(f"/v1/jobs/{spec.id}").get_json()
    revisions = [int(event_id), *(int(event[0]) for event in rest)]
    assert revisions == sorted(set(revisions))


def test_the_stream_of_an_ended_job_has_one_event(client: FlaskClient, connection: Storage, work: Work) -> None:
    spec = submit(connection, b"\xff\xd8\xff damaged", width=3, height=3)
    work()
    [(_, name, document)] = parse_events(iter(client.get(f"/v1/jobs/{spec.id}/events").response))
    assert (name, document["error"]["code"]) == ("job.failed", "unprocessable_image")


def test_comments_keep_an_idle_stream_alive(
    client: FlaskClient, connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PING_S", 0.1)
    answer = client.get(f"/v1/jobs/{submit(connection, pictures.jpeg()).id}/events")
    lines = iter(answer.response)
    assert next(lines).startswith(b"id: ")
    assert next(lines) == b": still here\n\n"
    answer.close()


def test_an_erased_job_ends_its_stream(client: FlaskClient, connection: Storage) -> None:
    spec = submit(connection, pictures.jpeg())
    events = parse_events(iter(client.get(f"/v1/jobs/{spec.id}/events").response))
    assert next(events)[1] == "job.queued"
    client.delete(f"/v1/jobs/{spec.id}")
    assert [name for _, name, _ in events] in ([], ["job.canceled"])


def test_beyond_the_limit_of_subscriptions_a_stream_polls(
    connection: Storage, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CROWDED_PAUSE_S", 0.05)
    crowded = create_app(connection.settings.replace(max_waiters=0)).test_client()
    spec = submit(connection, pictures.jpeg())
    answer = crowded.get(f"/v1/jobs/{spec.id}/events")
    lines = iter(answer.response)
    assert b"job.queued" in next(lines)
    work()
    assert b"job.succeeded" in b"".join(lines)
    answer.close()
