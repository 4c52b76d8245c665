"""The janitor deletes what is past its retention, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from specs import DAY_MS, spec, submit

from storage import keys, object_keys
from storage.batch import BatchSpec
from storage.connection import Storage, connect
from storage.job import Finished, Job, Outcome, Status
from storage.keys import Lane
from storage.objects import BATCHES, RESULTS, UPLOADS
from storage.problems import Problem
from worker.housekeeping.janitor import clean


def ended(storage: Storage, **changes: Any) -> Job:
    made = submit(storage, **changes)
    storage.jobs.claim(made.id, "drainer", "worker")
    outcome = Outcome.of_problem(made.id, Problem("internal", "It broke."))
    key = storage.objects.put_result(made, made.id, outcome)
    storage.jobs.finish(made.id, "worker", 1, [Finished(made.id, key, outcome)])
    job = storage.jobs.get(made.id)
    assert job
    return job


def stored(storage: Storage) -> int:
    return sum(1 for bucket in (UPLOADS, RESULTS) for _ in storage.objects.listing(bucket, ""))


@pytest.fixture
def brief(empty_store: Storage) -> Storage:
    """Storage with a retention of zero for ended jobs."""
    return connect(empty_store.settings.model_copy(update={"retention_s": 0}))


def test_ended_jobs_are_kept_for_the_retention(empty_store: Storage) -> None:
    job = ended(empty_store)
    assert job.retained_until_ms == pytest.approx(job.finished_ms + 7 * DAY_MS, abs=50)
    assert clean(empty_store) == 0
    assert stored(empty_store) == 2


def test_ended_jobs_are_erased_after_the_retention(brief: Storage) -> None:
    jobs, waiting = [ended(brief) for _ in range(5)], submit(brief)
    assert clean(brief) == 5
    assert [brief.jobs.ids.tenant_of_erased(job.id) for job in jobs] == ["local"] * 5
    assert [entry.key for entry in brief.objects.listing(UPLOADS, "")] == [object_keys.upload("local", waiting.id)]
    assert not list(brief.objects.listing(RESULTS, ""))
    assert clean(brief) == 0


def test_ended_jobs_unknown_to_redis_are_erased_too(brief: Storage) -> None:
    gone, waiting = ended(brief), submit(brief)
    brief.jobs.client.flushall()
    assert clean(brief) == 1
    assert not brief.objects.results("local", gone.id)
    assert brief.objects.spec("local", waiting.id), "an upload without a result is an open job until its deadline"


@pytest.mark.parametrize("done", [lambda storage: None, lambda storage: storage.jobs.client.flushall()])
def test_objects_older_than_every_deadline_are_erased(brief: Storage, done: Callable[[Storage], None]) -> None:
    """The ids are two weeks old; the upload never became a finished job."""
    old = f"job_{(spec().created_ms - 15 * DAY_MS):012x}{keys.new_job_id()[16:]}"
    made = submit(brief, id=old)
    brief.jobs.client.delete(keys.job(old))
    done(brief)
    assert clean(brief) == 1
    assert brief.objects.spec("local", made.id) is None


def test_a_retried_job_is_not_erased(brief: Storage) -> None:
    job = ended(brief)
    brief.objects.remove(RESULTS, job.result_key)
    assert brief.jobs.retry(job.id, job.spec.deadline_ms)
    assert clean(brief) == 0
    again = brief.jobs.get(job.id)
    assert again
    assert (again.status, again.retained_until_ms) == (Status.QUEUED, 0)


def test_old_empty_batches_are_deleted(brief: Storage) -> None:
    def opened(age_ms: int) -> str:
        batch_id = f"bat_{(spec().created_ms - age_ms):012x}{keys.new_batch_id()[16:]}"
        brief.batches.open(BatchSpec(batch_id, "local", "", Lane.BULK, "stable", 60, 0))
        return batch_id

    old, young = opened(9 * DAY_MS), opened(0)
    held = opened(9 * DAY_MS)
    submit(brief, batch_id=held, custom_id="a")
    clean(brief)
    assert {key.split("/")[1] for key in (entry.key for entry in brief.objects.listing(BATCHES, ""))} == {young, held}
    assert brief.batches.get("local", old) is None


def test_one_janitor_at_a_time(brief: Storage) -> None:
    ended(brief)
    with brief.jobs.locks.alone("janitor", 10):
        assert clean(brief) == 0
    assert clean(brief) == 1
