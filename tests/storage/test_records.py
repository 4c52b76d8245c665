"""Records in each kind of database: writing, listing and erasing."""

from dataclasses import replace

import pytest
from specs import spec
from sqlalchemy import text

from storage import keys
from storage.batch import BatchSpec
from storage.feedback import Feedback, Verdict
from storage.job import Job, Outcome, Status
from storage.keys import Lane
from storage.records.job_filter import Cursor, JobFilter
from storage.records.jobs import Records
from storage.records.sql import Database
from storage.records.tables import metadata

CLASSES = [{"id": 0, "name": "pet", "color": [1, 2, 3], "pixels": 7, "fraction": 0.5}]
RESULT = {"width": 64, "height": 48, "classes": CLASSES, "confidence": 0.75, "sha256": "ab" * 32}
MODEL, TIMINGS = {"name": "pets", "version": "3"}, {"infer": 3, "fetch": 1}
DONE = Outcome(Status.SUCCEEDED, MODEL, RESULT, TIMINGS, offsets_ms={"infer": 9, "fetch": 1})


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


def job(status: Status = Status.SUCCEEDED, revision: int = 0, **changes: object) -> Job:
    made = spec(**changes)
    revision = revision or made.created_ms
    if not status.final:
        return Job(made, status, revision)
    outcome = DONE if status is Status.SUCCEEDED else Outcome(status, error={"code": "image_decode_failed"})
    return Job(
        made, status, revision, started_ms=made.created_ms + 5, finished_ms=made.created_ms + 9,
        retained_until_ms=made.created_ms + 1000, micro_batch=4, token="t" * 32, worker="host-1", outcome=outcome,
    )  # fmt: skip


def all_text(database: Database) -> str:
    with database.begin() as connection:
        return "".join(str(connection.execute(table.select()).all()) for table in metadata.sorted_tables)


def page(records: Records, **wanted: object) -> list[str]:
    return [one.id for one in records.page("local", JobFilter(**wanted), 50, None)[0]]  # type: ignore[arg-type]


@pytest.mark.parametrize("status", list(Status))
def test_a_job_is_listed_as_it_was_written(records: Records, status: Status) -> None:
    named = {"filename": "größe 猫.jpg", "custom_id": "a/b.jpg", "request_id": "r" * 64, "traceparent": "t" * 55}
    made = job(status, lane=Lane.BULK, batch_id=keys.new_batch_id(), **named)
    records.write([made])
    [listed], cursor = records.page("local", JobFilter(), 50, None)
    assert cursor is None
    assert listed == replace(made, token="", worker="")  # which a list omits
    assert records.job(made.id) == listed


def test_writing_again_changes_nothing_and_a_later_state_replaces_a_record(
    records: Records, database: Database
) -> None:
    waiting = job(Status.QUEUED)
    records.write([waiting])
    ended = replace(job(), spec=waiting.spec, revision=waiting.revision + 1)
    records.write([ended])
    before = all_text(database)
    records.write([ended])
    records.write([waiting])  # from an older state of Redis
    assert all_text(database) == before
    assert page(records, status=Status.SUCCEEDED) == [waiting.id]
    assert page(records, status=Status.QUEUED) == []


def test_every_retry_is_a_separate_attempt(records: Records) -> None:
    failed = replace(job(Status.FAILED), lost="host-0 100 200;host-2 300 400;")
    records.write([failed])
    again = replace(job(), spec=failed.spec, attempt=2, revision=failed.revision + 1)
    records.write([again])
    first, second = records.attempts(failed.id)
    assert (first["number"], first["status"], first["error"]) == (1, "failed", {"code": "image_decode_failed"})
    assert first["lost"] == [
        {"worker": "host-0", "started_ms": 100, "lost_ms": 200},
        {"worker": "host-2", "started_ms": 300, "lost_ms": 400},
    ]
    assert (second["number"], second["status"], second["model"], second["worker"]) == (
        2,
        "succeeded",
        "pets/3",
        "host-1",
    )
    assert second["timings_ms"] == {"infer": 3, "fetch": 1}
    listed = records.job(failed.id)
    assert listed
    assert (listed.attempt, listed.outcome) == (2, DONE)


def test_a_micro_batch_is_one_row(records: Records, database: Database) -> None:
    records.write([job(), job(), job(Status.FAILED)])
    with database.begin() as connection:
        [row] = connection.execute(text("SELECT id, worker, model, size, infer_ms FROM micro_batches")).all()
    assert (row.id, row.worker, row.size) == ("t" * 32, "host-1", 4)


def test_pages_are_newest_first_and_miss_nothing_where_times_are_equal(records: Records) -> None:
    now_ms = 1_795_000_000_000
    made = [job(created_ms=now_ms + place // 10) for place in range(57)]
    records.write(made)
    seen: list[Job] = []
    cursor: Cursor | None = None
    for _ in range(6):
        found, cursor = records.page("local", JobFilter(), 10, cursor)
        seen += found
        records.write([job(created_ms=now_ms + 1000)])  # a new job does not shift the pages
        if cursor is None:
            break
        cursor = Cursor.parse(str(cursor))
    expected = sorted(made, key=lambda one: (one.spec.created_ms, one.id), reverse=True)
    assert [one.id for one in seen] == [one.id for one in expected]
    assert cursor is None


def test_lists_are_filtered_and_a_tenant_sees_only_its_own(records: Records) -> None:
    batch_id = keys.new_batch_id()
    old, failed = job(created_ms=1_000), job(Status.FAILED, created_ms=2_000)
    item, other = job(created_ms=3_000, batch_id=batch_id), job(created_ms=4_000, tenant="other", batch_id=batch_id)
    records.write([old, failed, item, other])
    assert page(records) == [item.id, failed.id, old.id]
    assert page(records, status=Status.FAILED) == [failed.id]
    assert page(records, batch_id=batch_id) == [item.id]
    assert page(records, created_after_ms=1_000) == [item.id, failed.id]
    assert [one.id for one in records.page("other", JobFilter(), 50, None)[0]] == [other.id]
    assert records.page("nobody", JobFilter(), 50, None) == ([], None)


@pytest.mark.parametrize("text", ["", "x", "1-job_", "1;DROP-job_" + "0" * 32, "9" * 16 + "-job_" + "0" * 32])
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        Cursor.parse(text)


def test_erasing_removes_personal_data(records: Records, database: Database) -> None:
    batch = BatchSpec(keys.new_batch_id(), "local", "Holiday pictures", Lane.BULK, "stable", 60, 1)
    private = job(
        filename="passport.jpg",
        tags="secret,tags",
        sha256="d" * 64,
        batch_id=batch.id,
        custom_id="private/passport.jpg",
        request_id="annas-request",
        traceparent="annas-trace",
    )
    kept = job(filename="cat.jpg")
    records.write([private, kept])
    records.write_batches([(batch, "closed")])
    records.write_feedback([feedback_about(private)])
    records.erase({private.id: private.revision + 1, batch.id: 5})
    text = all_text(database)
    for trace in ("passport", "secret", "d" * 64, "Holiday", "my neighbour", "mask.png", "annas"):
        assert trace not in text
    assert "cat.jpg" in text
    assert page(records) == [kept.id]
    assert records.job(private.id) is None
    assert records.feedback(private.id) == []
    assert records.attempts(private.id)[0]["worker"] == "host-1"  # the attempt itself is kept


def feedback_about(about: Job) -> Feedback:
    return Feedback(
        keys.new_feedback_id(), about.id, "local", Verdict.BAD, "my neighbour", "pets/3", "local/x/mask.png",
        consent_training=True, consent_wording="yes", created_ms=5,
    )  # fmt: skip


def test_an_older_state_does_not_restore_erased_data(records: Records, database: Database) -> None:
    private = job(filename="passport.jpg")
    records.write([private])
    records.erase({private.id: private.revision + 10})
    records.write([private])
    assert "passport" not in all_text(database)
    records.erase({private.id: 1})  # nor does an old erasure undo a later job of the same id
    again = replace(private, revision=private.revision + 20)
    records.write([again])
    records.erase({private.id: private.revision + 10})
    assert page(records) == [private.id]


def test_expired_records_are_erased(records: Records, database: Database) -> None:
    over, kept, waiting = job(filename="over.jpg"), job(filename="kept.jpg"), job(Status.QUEUED, filename="waits.jpg")
    records.write([over, replace(kept, retained_until_ms=over.retained_until_ms + 5000), waiting])
    assert records.erase_overdue(over.retained_until_ms) == 1
    assert records.erase_overdue(over.retained_until_ms) == 0
    assert "over.jpg" not in all_text(database)
    assert sorted(page(records)) == sorted([kept.id, waiting.id])


def test_concurrent_writers_of_the_same_jobs_succeed(records: Records, database: Database) -> None:
    from threading import Thread

    made = [job() for _ in range(40)]
    writers = [Thread(target=records.write, args=(made[part::2] + made,)) for part in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(page(records)) == 40
