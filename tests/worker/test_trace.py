"""`segue trace`: the history of one job, from the records or from Redis."""

import json
from uuid import uuid4

import pytest
import services
from operating import ran
from pydantic import SecretStr
from specs import submit

from storage import keys, lifecycle
from storage.connection import Storage, connect
from storage.job import Finished, Outcome, Status
from storage.keys import Lane
from storage.problems import Problem
from worker.housekeeping import recorder
from worker.housekeeping import sweeps as housekeeping
from worker.trace import Story, trace


def end(made: Storage, problem: str = "") -> None:
    [job] = made.jobs.claim(token := uuid4().hex, "drainer", "host-2")
    timings, offsets = {"fetch": 2, "decode": 1, "infer": 7}, {"fetch": 3, "decode": 5, "infer": 46}
    model = {"name": "pets", "version": "3"}
    outcome = Outcome(Status.SUCCEEDED, model, {"width": 3}, timings, offsets_ms=offsets)
    if problem:
        outcome = Outcome.of_problem(job.id, Problem(problem, "It is damaged."))
    key = made.objects.put_result(job.spec, token, outcome, b"mask")
    made.jobs.finish(token, "host-2", 1, [Finished(job.id, key, outcome)])


@pytest.fixture
def eventful(recording: Storage) -> str:
    """A job that lost a worker, failed, was tried again and succeeded."""
    spec = submit(recording, filename="cat.jpg")
    recording.jobs.claim(uuid4().hex, "drainer", "host-1")
    recording.jobs.client.zadd(keys.leases(Lane.INTERACTIVE), {spec.id: 1})
    housekeeping.sweep(recording)
    end(recording, "image_decode_failed")
    recorder.record(recording)
    job = recording.jobs.get(spec.id)
    assert job
    lifecycle.retry(recording.objects, recording.jobs, job, 60)
    end(recording)
    return spec.id


def event_lines(story: Story | None) -> list[str]:
    assert story
    assert [event.at_ms for event in story.events] == sorted(event.at_ms for event in story.events)
    return [event.what for event in story.events]


def test_the_whole_story(recording: Storage, eventful: str) -> None:
    story = trace(recording, eventful)
    accepted, taken, lost, again, failed, retried, done, over = event_lines(story)
    assert accepted.startswith("accepted: cat.jpg (")
    assert taken == "attempt 1: taken by host-1"
    assert lost == "attempt 1: host-1 lost its lease, queued again"
    assert again.startswith("attempt 1: taken by host-2, micro-batch ")
    assert failed == "attempt 1: failed, image_decode_failed: It is damaged."
    assert retried.startswith("attempt 2: taken by host-2")
    assert done == "attempt 2: succeeded with pets/3 (wait 3 ms, fetch 2 ms, decode 1 ms, wait 40 ms, infer 7 ms)"
    assert over == "erasure of the job, its photo and its mask"
    assert story
    assert (story.status, story.tenant, story.silent) == ("succeeded", "local", [])


def test_the_whole_story_without_redis(recording: Storage, eventful: str) -> None:
    whole = event_lines(trace(recording, eventful))
    recorder.record(recording)
    recording.jobs.client.flushall()
    story = trace(recording, eventful)
    assert event_lines(story) == whole
    assert story
    assert story.sources == ["records"]


def test_redis_alone_knows_the_last_attempt(recording: Storage, eventful: str) -> None:
    down = SecretStr("postgresql+psycopg://segue@127.0.0.1:9/nothing")
    story = trace(connect(recording.settings.replace(sql_url=down)), eventful)
    assert [what.partition(":")[0] for what in event_lines(story)][:3] == ["accepted", "attempt 2", "attempt 2"]
    assert story
    assert story.silent == ["records"]


def test_the_command(own_store: Storage) -> None:
    spec = submit(own_store, filename="cat.jpg")
    env = services.joining(own_store.settings)
    done = ran(env, "trace", spec.id)
    assert done.returncode == 0, done.stderr
    assert f"{spec.id} of local: queued" in done.stdout
    assert "accepted: cat.jpg" in done.stdout
    done = ran(env, "trace", "--json", spec.id)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"][0]["at_ms"] == spec.created_ms
    unknown = ran(env, "trace", keys.new_job_id())
    assert unknown.returncode == 1
    assert "unknown job" in unknown.stderr
