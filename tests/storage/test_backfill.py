"""A backfill makes one re-run of each stored photo, which is erased with the old job."""

from collections.abc import Callable
from typing import Any

import pictures
import pytest
from services import SHIPPED_MODEL
from specs import DAY_MS, submit

from storage import clock, keys, lifecycle, object_keys
from storage.backfill import backfill
from storage.backfill.backfill import Plan
from storage.backfill.reruns import PARTY, Made
from storage.connection import Storage, connect
from storage.job import Finished, Job, Outcome, Spec, Status
from storage.keys import Lane
from storage.objects import OUTCOME_TEXT, UPLOADS
from storage.queue.batches import CANCELED
from storage.recovery import find
from worker.housekeeping import recorder, sweeps
from worker.housekeeping.janitor import clean

NEW = "pets/3"


def end(storage: Storage, confidence: float = 0.7, version: str = "2") -> Job:
    """A worker segments the job whose turn it is."""
    [leased] = storage.jobs.claim(token := keys.new_token(), "drainer", "worker-1")
    result = {"width": 64, "height": 48, "classes": [], "confidence": confidence}
    outcome = Outcome(Status.SUCCEEDED, {"name": "pets", "version": version}, result)
    mask = pictures.mask_png({OUTCOME_TEXT: outcome.to_json()})
    outcome = outcome.with_digest(mask)
    key = storage.objects.put_result(leased.spec, token, outcome, mask)
    assert storage.jobs.finish(token, "worker-1", 1, [Finished(leased.id, key, outcome)]) == ["won"]
    return one(storage, leased.id)


def one(storage: Storage, job_id: str) -> Job:
    job = storage.jobs.get(job_id)
    assert job
    return job


def stored(storage: Storage, *confidences: float, **changes: Any) -> list[Spec]:
    """Jobs that `pets/2` has ended, and their records."""
    made = []
    for confidence in confidences:
        made.append(submit(storage, **changes))
        end(storage, confidence)
    recorder.record(storage)
    return made


def run(storage: Storage, **changes: Any) -> Made:
    return backfill.run(storage, Plan(NEW, **changes), lambda made: None)


def rerun(spec: Spec) -> str:
    return keys.rerun(spec.id, NEW)


@pytest.fixture
def one_by_one(own_store: Storage) -> Storage:
    """Storage whose claims take one job each."""
    storage = connect(own_store.settings.replace(micro_batch=1))
    storage.models.publish(SHIPPED_MODEL)
    return storage


def test_each_photo_is_segmented_once_more_and_the_old_result_stays(one_by_one: Storage) -> None:
    [old] = stored(one_by_one, 0.8, tags="a,b", filename="cat.jpg", key_hash="k", tenant="acme")
    before = one(one_by_one, old.id)
    assert run(one_by_one) == Made(queued=1)
    made = one(one_by_one, rerun(old)).spec
    assert (made.model, made.lane, made.tenant, made.party, made.custom_id) == (NEW, Lane.BULK, "acme", PARTY, old.id)
    assert (made.filename, made.tags, made.sha256, made.key_hash) == ("cat.jpg", "a,b", old.sha256, "")
    assert one_by_one.objects.get_upload(made) == one_by_one.objects.get_upload(old)
    assert one_by_one.objects.spec("acme", made.id) == made
    ended = end(one_by_one, version="3")
    assert ended.id == rerun(old)
    after = one(one_by_one, old.id)
    assert (after.result_key, after.outcome, after.revision) == (before.result_key, before.outcome, before.revision)
    assert after.rerun == ended.id
    recorder.record(one_by_one)
    assert run(one_by_one) == Made(), "a re-run pins its version"
    batch = one_by_one.batches.get("acme", made.batch_id)
    assert batch
    assert (batch.status, batch.total, batch.spec.name) == ("succeeded", 1, f"backfill {NEW}")


def test_the_photos_whose_masks_are_likely_to_change_come_first(one_by_one: Storage) -> None:
    confidences = [0.95, 0.61, 0.52, 0.62, 0.97]
    made = {confidence: spec.id for confidence, spec in zip(confidences, stored(one_by_one, *confidences), strict=True)}
    evidence = [[1000, 10], [1000, 10], [1000, 300], *[[1000, 1]] * 7]
    counted = backfill.count(one_by_one, Plan(NEW, by_disagreement=True, evidence=evidence))
    assert counted == [1, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert run(one_by_one, by_disagreement=True, evidence=evidence) == Made(queued=5)
    order = [one(one_by_one, end(one_by_one, version="3").id).spec.custom_id for _ in confidences]
    assert order == [made[confidence] for confidence in (0.61, 0.62, 0.52, 0.95, 0.97)]


def test_it_waits_while_new_work_is_refused(one_by_one: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    [old] = stored(one_by_one, 0.8)
    one_by_one.pausing.refuse("We move to new disks.")
    seen = []

    def wait(_: float) -> None:
        seen.append(one_by_one.jobs.get(rerun(old)))
        one_by_one.pausing.resume()

    monkeypatch.setattr(backfill.time, "sleep", wait)
    assert run(one_by_one) == Made(queued=1)
    assert seen == [None]


def test_a_limit_ends_it_and_the_next_run_continues(one_by_one: Storage) -> None:
    old = stored(one_by_one, 0.9, 0.6, 0.7)
    assert run(one_by_one, by_disagreement=True, limit=2) == Made(queued=2)
    assert one_by_one.jobs.get(rerun(old[0])) is None
    assert run(one_by_one, by_disagreement=True) == Made(queued=1)
    assert run(one_by_one) == Made()


def test_a_run_on_a_later_day_repeats_nothing(one_by_one: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    old = stored(one_by_one, 0.9, 0.6)
    assert run(one_by_one, limit=1) == Made(queued=1)
    tomorrow_ms = clock.now_ms() + DAY_MS
    monkeypatch.setattr(clock, "now_ms", lambda: tomorrow_ms)
    assert run(one_by_one) == Made(queued=1)
    assert len({one(one_by_one, rerun(spec)).spec.batch_id for spec in old}) == 2


def test_it_keeps_a_limited_number_of_jobs_open(one_by_one: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(one_by_one, *[0.7] * 5)
    most = []

    def work(_: float) -> None:
        most.append(one_by_one.jobs.queue().pending[Lane.BULK])
        end(one_by_one, version="3")

    monkeypatch.setattr("storage.backfill.backfill.time.sleep", work)
    assert run(one_by_one, ahead=2) == Made(queued=5)
    assert most == [2, 2, 2]


def test_tenants_do_not_pay_for_it(one_by_one: Storage) -> None:
    stored(one_by_one, 0.7, tenant="acme")
    before = one_by_one.jobs.usage("acme")
    assert run(one_by_one) == Made(queued=1)
    assert one_by_one.jobs.usage("acme") == before
    assert one_by_one.jobs.usage(PARTY).jobs == 1


def test_a_canceled_batch_gets_no_more_photos(one_by_one: Storage) -> None:
    stored(one_by_one, 0.7, 0.8)
    run(one_by_one, limit=1)
    batch = one_by_one.batches.get("local", keys.backfill_batch(NEW, "local", clock.now_ms()))
    assert batch
    one_by_one.batches.close(batch.spec, CANCELED)
    assert run(one_by_one) == Made(canceled=1)


@pytest.mark.parametrize("state", ["waiting", "ended"])
def test_an_erased_job_takes_its_rerun_with_it(one_by_one: Storage, state: str) -> None:
    old, other = stored(one_by_one, 0.7, 0.8)
    run(one_by_one)
    if state == "ended":
        end(one_by_one, version="3")
        end(one_by_one, version="3")
    assert lifecycle.erase(one_by_one.objects, one_by_one.jobs, "local", old.id)
    left = {entry.key.rpartition("/")[2] for entry in one_by_one.objects.listing(UPLOADS, "")}
    assert left == {other.id, rerun(other)}
    assert not one_by_one.objects.results("local", rerun(old))
    assert one_by_one.jobs.get(rerun(old)) is None
    recorder.record(one_by_one)
    assert one_by_one.records.job(rerun(old)) is None
    assert run(one_by_one) == Made()


def test_an_erasure_during_a_rerun_is_completed(one_by_one: Storage) -> None:
    [old] = stored(one_by_one, 0.7)
    run(one_by_one)
    [running] = one_by_one.jobs.claim(token := keys.new_token(), "drainer", "worker-1")
    assert not lifecycle.erase(one_by_one.objects, one_by_one.jobs, "local", old.id)
    assert one_by_one.jobs.extend(token, "drainer", "worker-1", [running.id]) == ["canceled"]
    assert clean(one_by_one) == 0
    one_by_one.jobs.release(token, [running.id])
    one_by_one.jobs.ids.postpone([old.id], -1)
    assert clean(one_by_one) == 1
    assert not list(one_by_one.objects.listing(UPLOADS, ""))


def test_a_job_that_is_erased_while_its_photo_is_copied_leaves_no_copy(
    one_by_one: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = stored(one_by_one, 0.7)
    copy = one_by_one.objects.copy_upload

    def erased_meanwhile(*copied: Any) -> bool:
        # What an erasure has done when it has just looked for re-runs.
        one_by_one.jobs.begin_erase(old.id)
        return copy(*copied)

    monkeypatch.setattr(one_by_one.objects, "copy_upload", erased_meanwhile)
    assert run(one_by_one) == Made(erased=1)
    assert [entry.key for entry in one_by_one.objects.listing(UPLOADS, "")] == [object_keys.upload("local", old.id)]
    assert one_by_one.jobs.get(rerun(old)) is None


def test_a_photo_that_is_gone_is_left_out(one_by_one: Storage) -> None:
    old, _ = stored(one_by_one, 0.7, 0.8)
    assert lifecycle.erase(one_by_one.objects, one_by_one.jobs, "local", old.id)  # the records do not know yet
    assert run(one_by_one) == Made(queued=1, erased=1)


def test_a_rerun_lives_no_longer_than_the_old_job(one_by_one: Storage) -> None:
    [old] = stored(one_by_one, 0.7)
    run(one_by_one)
    ended, until_ms = end(one_by_one, version="3"), one(one_by_one, old.id).retained_until_ms
    assert ended.retained_until_ms == until_ms < ended.finished_ms + 7 * DAY_MS
    recorder.record(one_by_one)
    recorded = one_by_one.records.job(ended.id)
    assert recorded
    assert recorded.retained_until_ms == until_ms
    one_by_one.jobs.ids.postpone([old.id], -1)  # its retention ends now
    assert clean(one_by_one) == 1
    assert not list(one_by_one.objects.listing(UPLOADS, ""))


def test_a_photo_that_is_erased_soon_is_left_out(one_by_one: Storage) -> None:
    brief = connect(one_by_one.settings.replace(retention_s=3000))
    stored(brief, 0.7)
    assert run(brief) == Made()


@pytest.mark.parametrize("lost", ["job hash", "everything"])
@pytest.mark.parametrize("state", ["waiting", "ended"])
def test_a_loss_of_redis_loses_no_rerun(one_by_one: Storage, lost: str, state: str) -> None:
    """The ids of re-runs are as old as the old jobs: adoption finds them through their batch."""
    [old] = stored(one_by_one, 0.7, id=f"job_{clock.now_ms() - 6 * DAY_MS:012x}{keys.new_job_id()[16:]}")
    run(one_by_one)
    if state == "ended":
        end(one_by_one, version="3")
    if lost == "everything":
        one_by_one.jobs.client.flushall()
        sweeps.adopt_after_loss(one_by_one)
    else:
        one_by_one.jobs.client.delete(keys.job(rerun(old)))
        assert run(one_by_one) == Made(queued=1)
    assert one(one_by_one, rerun(old)).status == (Status.SUCCEEDED if state == "ended" else Status.QUEUED)
    assert run(one_by_one) == Made()
    again = find(one_by_one.objects, one_by_one.jobs, "local", old.id)
    assert again
    assert again.rerun == rerun(old)


@pytest.mark.parametrize("step", ["_add_to_manifests", "_enqueue"])
def test_a_run_that_is_killed_between_two_steps_is_continued(
    one_by_one: Storage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = stored(one_by_one, 0.7, 0.8)

    class KilledError(Exception):
        pass

    def killed(*_: Any) -> Callable[..., Any]:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(f"storage.backfill.reruns.Reruns.{step}", killed)
        run(one_by_one)
    assert len(list(one_by_one.objects.listing(UPLOADS, ""))) == 4
    assert run(one_by_one) == Made(queued=2)
    batch = one_by_one.batches.get("local", keys.backfill_batch(NEW, "local", clock.now_ms()))
    assert batch
    assert batch.total == 2
    assert {one(one_by_one, rerun(spec)).status for spec in old} == {Status.QUEUED}
