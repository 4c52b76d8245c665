"""The recorder follows Redis, and `record_missing` restores what Redis has lost; in each database."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import reviewed
from pydantic import SecretStr
from services import SHIPPED_MODEL
from specs import mask_of, older_state, submit
from sqlalchemy import text

from storage import feedback, keys, lifecycle, object_keys
from storage.batch import BatchSpec
from storage.batches import CLOSED
from storage.connection import Storage, connect
from storage.feedback import CONSENT, Feedback, Verdict
from storage.job import Finished, Job, Outcome, Spec, Status
from storage.keys import Lane
from storage.problems import Problem, Unavailable
from storage.records.job_filter import JobFilter
from storage.records.review_cursor import Cursor as ReviewCursor
from storage.records.sql import Database
from storage.records.tables import metadata
from storage.training import decisions
from storage.training.reviews import State
from worker import doctor
from worker.housekeeping import recorder
from worker.housekeeping import sweeps as housekeeping

RESULT = {"width": 64, "height": 48, "classes": [{"id": 0, "name": "pet", "fraction": 1.0}], "confidence": 0.5}


def end(made: Storage, wanted: Spec, problem: str = "") -> Job:
    [leased] = made.jobs.claim(token := uuid4().hex, "drainer", "host-1")
    assert leased.id == wanted.id
    outcome, mask = mask_of(RESULT)
    if problem:
        outcome = Outcome.of_problem(wanted.id, Problem(problem, "It is damaged."))
    key = made.objects.put_result(wanted, token, outcome, mask)
    assert made.jobs.finish(token, "host-1", 1, [Finished(wanted.id, key, outcome)]) == ["won"]
    return one(made, wanted.id)


def one(made: Storage, job_id: str) -> Job:
    job = made.jobs.get(job_id)
    assert job
    return job


def listed(made: Storage) -> dict[str, Status]:
    return {job.id: job.status for job in made.records.page("local", JobFilter(), 200, None)[0]}


def all_text(database: Database) -> str:
    with database.begin() as connection:
        return "".join(str(connection.execute(table.select()).all()) for table in metadata.sorted_tables)


def opened(made: Storage, name: str = "Holiday") -> BatchSpec:
    spec = BatchSpec(keys.new_batch_id(), "local", name, Lane.BULK, "stable", 60, 1)
    made.batches.open(spec)
    return spec


def give_feedback(made: Storage, job_id: str, note: str = "too much fur") -> Feedback:
    feedback_id = keys.new_feedback_id()
    mask_key = object_keys.feedback("local", job_id, feedback_id, "png")
    given = Feedback(feedback_id, job_id, "local", Verdict.CORRECTED, note, "pets/3", mask_key, True, CONSENT, 7)
    feedback.store(made.objects, made.jobs, given, b"a mask")
    return given


def test_every_change_is_recorded(recording: Storage) -> None:
    made = [submit(recording) for _ in range(3)]
    assert recorder.record(recording) == 3
    assert listed(recording) == {spec.id: Status.QUEUED for spec in made}
    recording.jobs.claim(token := uuid4().hex, "drainer", "host-1")
    assert recorder.record(recording) == 3
    assert listed(recording) == {spec.id: Status.RUNNING for spec in made}
    recording.jobs.release(token, [made[0].id])
    lifecycle.cancel(recording.objects, recording.jobs, one(recording, made[0].id))
    assert recorder.record(recording) == 1
    assert listed(recording)[made[0].id] is Status.CANCELED
    assert recorder.record(recording) == 0


def test_a_finished_job_is_recorded_as_redis_has_it(recording: Storage) -> None:
    job = end(recording, submit(recording))
    recorder.record(recording)
    recorded = recording.records.job(job.id)
    assert recorded
    assert (recorded.status, recorded.outcome, recorded.micro_batch) == (job.status, job.outcome, 1)
    [attempt] = recording.records.attempts(job.id)
    assert (attempt["worker"], attempt["micro_batch_id"]) == ("host-1", job.token)


def test_a_lost_lease_and_a_retry_are_recorded(recording: Storage) -> None:
    spec = submit(recording)
    recording.jobs.claim(uuid4().hex, "drainer", "host-0")
    recording.jobs.client.zadd(keys.leases(Lane.INTERACTIVE), {spec.id: 1})
    housekeeping.sweep(recording)
    failed = end(recording, spec, "image_decode_failed")
    recorder.record(recording)
    assert lifecycle.retry(recording.objects, recording.jobs, failed, 60)
    assert (one(recording, spec.id).worker, one(recording, spec.id).started_ms) == ("", 0)
    end(recording, spec)
    recorder.record(recording)
    first, second = recording.records.attempts(spec.id)
    assert [lease["worker"] for lease in first["lost"]] == ["host-0"]
    assert first["error"]["code"] == "image_decode_failed"
    assert (second["status"], second["lost"]) == ("succeeded", [])


def test_a_job_that_changes_during_a_write_is_written_again(
    recording: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = submit(recording)
    write = type(recording.records).write

    def slow(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        monkeypatch.undo()
        end(recording, spec)

    monkeypatch.setattr(type(recording.records), "write", slow)
    recorder.record(recording)
    assert listed(recording) == {spec.id: Status.QUEUED}
    recorder.record(recording)
    assert listed(recording) == {spec.id: Status.SUCCEEDED}


def test_while_sql_is_down_the_changes_wait(recording: Storage) -> None:
    down = connect(recording.settings.replace(sql_url=SecretStr("postgresql+psycopg://segue@127.0.0.1:9/x")))
    jobs = [end(recording, submit(recording)) for _ in range(5)]
    with pytest.raises(Unavailable, match="records"):
        recorder.record(down)
    assert recorder.record(recording) == 5
    assert listed(recording) == {job.id: Status.SUCCEEDED for job in jobs}


def test_a_row_that_cannot_be_stored_does_not_delay_others(
    recording: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = submit(recording), submit(recording, filename="a.jpg")
    recording.jobs.client.hset(keys.job(bad.id), "outcome", '{"status": "failed", "error": {"a": "\\u0000"}}')
    recording.jobs.client.hset(keys.job(bad.id), "width", "9" * 30)
    recorder.record(recording)
    assert listed(recording) == {good.id: Status.QUEUED}
    [line] = [line for line in caplog.records if line.message == "change_not_recordable"]
    assert vars(line)["id"] == bad.id
    assert recorder.record(recording) == 0


def test_erased_jobs_are_forgotten(recording: Storage) -> None:
    job = end(recording, submit(recording, filename="passport.jpg"))
    give_feedback(recording, job.id, "my neighbour")
    recorder.record(recording)
    assert recording.records.feedback(job.id)
    assert lifecycle.erase(recording.objects, recording.jobs, "local", job.id)
    recorder.record(recording)
    written = all_text(recording.database)
    assert "passport" not in written
    assert "neighbour" not in written
    assert listed(recording) == {}
    assert not list(recording.objects.listing("feedback", ""))


def test_a_loss_of_redis_erases_no_record(recording: Storage) -> None:
    job = end(recording, submit(recording))
    recorder.record(recording)
    recording.jobs.outbox.note(job.id)
    recording.jobs.client.delete(keys.job(job.id))
    recorder.record(recording)
    assert listed(recording) == {job.id: Status.SUCCEEDED}


def test_an_older_state_of_redis_does_not_revert_records(recording: Storage) -> None:
    spec = submit(recording)
    older_state(recording, lambda: (end(recording, spec), recorder.record(recording)))
    assert one(recording, spec.id).status is Status.QUEUED
    recorder.record(recording)
    assert listed(recording) == {spec.id: Status.SUCCEEDED}


def test_batches_are_recorded_and_forgotten(recording: Storage) -> None:
    spec = opened(recording)
    recorder.record(recording)
    recording.batches.close(spec)
    recorder.record(recording)
    with recording.database.begin() as connection:
        [row] = connection.execute(text("SELECT name, closed FROM batches")).all()
    assert tuple(row) == ("Holiday", CLOSED)
    recording.batches.erase("local", spec.id)
    recorder.record(recording)
    assert "Holiday" not in all_text(recording.database)


def test_feedback_is_recorded_with_the_consent_and_its_wording(recording: Storage) -> None:
    job = end(recording, submit(recording))
    given = give_feedback(recording, job.id)
    recorder.record(recording)
    assert recording.records.feedback(job.id) == [given]
    assert (given.verdict, given.consent_training, given.consent_wording) == (Verdict.CORRECTED, True, CONSENT)


@pytest.fixture
def recorded_and_lost(recording: Storage) -> Iterator[tuple[Storage, dict[str, Status]]]:
    """Recorded jobs, unrecorded jobs, and a job that only SQL still has because its erasure was lost."""
    known, erased = end(recording, submit(recording)), end(recording, submit(recording, filename="passport.jpg"))
    recorder.record(recording)
    unknown, failed = end(recording, submit(recording)), end(recording, submit(recording), "image_decode_failed")
    give_feedback(recording, unknown.id)
    lifecycle.erase(recording.objects, recording.jobs, "local", erased.id)
    recording.jobs.client.flushall()
    return recording, {known.id: Status.SUCCEEDED, unknown.id: Status.SUCCEEDED, failed.id: Status.FAILED}


def test_recording_the_missing_makes_the_records_match_the_objects(
    recorded_and_lost: tuple[Storage, dict[str, Status]],
) -> None:
    recording, expected = recorded_and_lost
    recording.jobs.epoch.mark_intact()
    assert recorder.record_missing(recording) == 5  # one of them is feedback, and one the review of its job
    recorder.record(recording)
    assert listed(recording) == expected
    assert "passport" not in all_text(recording.database)
    assert [given.note for job_id in expected for given in recording.records.feedback(job_id)] == ["too much fur"]
    assert recorder.record_missing(recording) == 0


def reviews_of(made: Storage, state: State) -> list[str]:
    return [row["job_id"] for row in made.reviews.page(state, 200, None)[0]]


def test_reviews_are_recorded_decided_and_forgotten(recording: Storage) -> None:
    job, other = reviewed.consented(recording), reviewed.consented(recording, seed=1)
    recorder.record(recording)
    assert set(reviews_of(recording, State.WAITING)) == {job.id, other.id}
    assert recording.reviews.tenant(job.id) == "local"
    reviewed.accepted(recording, job)
    recorder.record(recording)
    [row], _ = recording.reviews.page(State.ACCEPTED, 200, None)
    assert (row["job_id"], row["decided_by"], row["model"]) == (job.id, "ops", "pets/3")
    for one in (job, other):
        lifecycle.erase(recording.objects, recording.jobs, "local", one.id)
    recorder.record(recording)
    assert [reviews_of(recording, state) for state in State] == [[], [], []]
    assert recording.reviews.tenant(job.id) is None


def test_recording_the_missing_makes_the_reviews_match_the_objects(recording: Storage) -> None:
    waiting, accepted, rejected, erased = (reviewed.consented(recording, seed=seed) for seed in range(4))
    recorder.record(recording)
    reviewed.accepted(recording, accepted)
    review = decisions.open_review(recording.objects, "local", rejected.id)
    decisions.reject(recording.objects, recording.jobs, review, by="ops")
    lifecycle.erase(recording.objects, recording.jobs, "local", erased.id)
    recording.jobs.client.delete(keys.UNRECORDED)
    recorder.record_missing(recording)
    recorder.record(recording)
    assert [reviews_of(recording, state) for state in State] == [[waiting.id], [accepted.id], [rejected.id]]
    assert recorder.record_missing(recording) == 0


def test_the_inbox_is_ranked_and_its_pages_are_complete(recording: Storage) -> None:
    rows = [
        {
            "job_id": f"job_{number:032x}", "tenant": "local", "state": State.WAITING,
            "priority": round(number % 3 / 3, 6),
            "scores": None, "model": "", "verdict": "bad", "consent_ms": 1, "decided_by": "", "decided_ms": 0,
            "note": "",
        }
        for number in range(10)
    ]  # fmt: skip
    recording.reviews.write(rows)
    seen: list[dict[str, Any]] = []
    after = None
    while True:
        page, after = recording.reviews.page(State.WAITING, 3, after)
        seen += page
        if after is None:
            break
        after = ReviewCursor.parse(str(after))
    assert [row["job_id"] for row in seen] == [
        row["job_id"] for row in sorted(rows, key=lambda row: (row["priority"], row["job_id"]), reverse=True)
    ]


def test_an_older_state_does_not_restore_an_erased_job(recording: Storage) -> None:
    job = end(recording, submit(recording, filename="passport.jpg"))
    older_state(recording, lambda: lifecycle.erase(recording.objects, recording.jobs, "local", job.id))
    assert housekeeping.adopt_after_loss(recording)
    recorder.record_missing(recording)
    recorder.record(recording)
    assert recording.jobs.get(job.id) is None
    assert recording.jobs.ids.tenant_of_erased(job.id) == "local"
    assert "passport" not in all_text(recording.database)


def test_the_doctor_records_the_missing(recorded_and_lost: tuple[Storage, dict[str, Status]]) -> None:
    recording, expected = recorded_and_lost
    housekeeping.adopt_after_loss(recording)
    recording.models.publish(SHIPPED_MODEL)
    recording.jobs.workers.beat("worker", 60_000)
    findings = {finding.what: finding for finding in doctor.examine(recording)}
    assert not findings["records"].ok
    doctor.repair(recording)
    assert listed(recording) == expected
    findings = {finding.what: finding for finding in doctor.examine(recording)}
    assert findings["records"].ok, findings["records"].detail


def test_a_loss_of_redis_triggers_the_recording_of_the_missing(recording: Storage) -> None:
    recording.jobs.client.flushall()
    assert housekeeping.adopt_after_loss(recording)
    messages = recording.jobs.client.lrange(keys.RECORDS_QUEUE, 0, -1)
    assert [json.loads(message)["headers"]["task"] for message in messages] == ["worker.record_missing"]


def test_model_versions_are_recorded(recording: Storage) -> None:
    recording.models.publish(SHIPPED_MODEL)
    recorder.tidy(recording)
    recorder.tidy(recording)
    assert recording.records.models() == {"pets/3"}
    with recording.database.begin() as connection:
        [row] = connection.execute(text("SELECT trained_on, published_ms FROM model_versions")).all()
    assert "Oxford" in row.trained_on
    assert row.published_ms > 0
