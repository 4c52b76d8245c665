"""The counters of transitions agree with the job hashes, in a real Redis."""

from collections import Counter as Tally

import pytest
from specs import older_state, spec, submit

from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Status
from storage.keys import Lane
from storage.problems import Problem
from storage.queue.counters import Counters
from storage.recovery import recover

DONE = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 64}, {"infer": 3})
DAMAGED = Problem("image_decode_failed", "It ends early.")


def counters(connection: Storage) -> Counters:
    return Counters.from_fields(connection.jobs.client.hgetall(keys.COUNTERS))  # type: ignore[arg-type]


def claim(connection: Storage, token: str) -> list[Job]:
    return connection.jobs.claim(token, "drainer", "worker")


def test_every_transition_is_counted_once(connection: Storage) -> None:
    jobs = connection.jobs
    made = [submit(connection) for _ in range(4)]
    jobs.enqueue(made[0])
    assert len(claim(connection, "t")) == len(claim(connection, "t")) == 4, "a repeated claim"
    jobs.release("t", [made[3].id])
    claim(connection, "u")
    jobs.client.zadd(keys.leases(Lane.INTERACTIVE), {made[3].id: 1})
    jobs.sweep("s")
    failed = Outcome.of_problem(made[1].id, DAMAGED)
    for _ in range(2):
        jobs.finish("t", "worker", 1, [Finished(made[0].id, "a", DONE), Finished(made[1].id, "b", failed)])
    found = counters(connection)
    assert (found.accepted, found.attempts, found.released, found.leases_lost) == (4, 5, 1, 1)
    assert {status: count for status, count in found.ended.items() if count} == {"succeeded": 1, "failed": 1}
    assert {code: count for code, count in found.failed.items() if count} == {"image_decode_failed": 1}
    assert (found.adopted, found.restored, found.retried, found.requeued) == (0, 0, 0, 0)


def test_cancelled_expired_and_retried_jobs_are_counted(connection: Storage) -> None:
    jobs, made, late = connection.jobs, submit(connection), submit(connection, deadline_ms=1)
    job = jobs.get(made.id)
    assert job
    lifecycle.cancel(connection.objects, jobs, job)
    [(ending, verdict)] = jobs.sweep("s").ending
    expired = jobs.get(ending)
    assert expired
    lifecycle.end(connection.objects, jobs, expired, "s", verdict)
    assert ending == late.id
    cancelled = jobs.get(made.id)
    assert cancelled
    assert lifecycle.retry(connection.objects, jobs, cancelled, 60)
    found = counters(connection)
    assert (found.ended[Status.CANCELED], found.ended[Status.EXPIRED], found.retried) == (1, 1, 1)


def test_recovered_jobs_are_counted_by_where_they_came_from(connection: Storage) -> None:
    jobs, waiting, ended, stray = connection.jobs, *(submit(connection) for _ in range(3))
    key = connection.objects.put_result(ended, "t", Outcome.of_problem(ended.id, DAMAGED))
    assert key
    jobs.client.delete(keys.job(waiting.id), keys.job(ended.id))
    jobs.client.zrem(keys.lane(Lane.INTERACTIVE), stray.id)
    for one in (waiting, ended):
        recover(connection.objects, jobs, one.tenant, one.id)
    assert jobs.reindex([stray.id]) == [stray.id]
    found = counters(connection)
    assert (found.accepted, found.adopted, found.restored, found.requeued) == (3, 1, 1, 1)
    assert (found.ended[Status.FAILED], found.failed["image_decode_failed"]) == (1, 1)


def test_an_older_state_of_redis_has_the_counters_of_that_state(connection: Storage) -> None:
    submit(connection)
    older_state(connection, lambda: [submit(connection) for _ in range(5)])
    assert counters(connection).accepted == jobs_in(connection) == 1


def jobs_in(connection: Storage) -> int:
    return sum(1 for _ in connection.jobs.client.scan_iter(keys.job("*")))


@pytest.mark.parametrize("outcome", ["", "no JSON", "null", "[1]", '{"error": null}', '{"error": {"code": "new"}}'])
def test_a_malformed_outcome_stops_no_transition(connection: Storage, outcome: str) -> None:
    """Calls the function itself, because a worker of another version may send anything."""
    made = spec()
    connection.jobs.enqueue(made)
    claim(connection, "t")
    run_id = connection.jobs.epoch.run_id()
    name = connection.jobs._run.name("finish")
    row = [made.id, "failed", "key", outcome, ""]
    assert connection.jobs.client.fcall(name, 0, "t", "worker", 1, 60_000, 16, run_id, 0, 1, *row) == ["won"]
    assert {code: count for code, count in counters(connection).failed.items() if count} == {"unknown": 1}


def test_unknown_fields_do_not_become_labels() -> None:
    found = Counters.from_fields({"failed:x": "2", "failed:internal": "1", "ended:x": "5", "else": "7"})
    assert Tally(found.failed) == Tally({**dict.fromkeys(found.failed, 0), "unknown": 2, "internal": 1})
    assert set(found.ended) == {"succeeded", "failed", "canceled", "expired"}
