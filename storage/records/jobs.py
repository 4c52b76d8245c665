"""The records: requests, results, timings and feedback in SQL, for lists and later queries.

The housekeeper writes them with a delay of seconds, and web processes read them. Making a mask does
not need them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, false, select, tuple_, update

from storage import clock
from storage.batch import BatchSpec
from storage.feedback import Feedback
from storage.job import Job, Status
from storage.records.job_filter import Cursor, JobFilter
from storage.records.rows import (
    AttemptRow,
    attempt_row,
    feedback_row,
    job_row,
    micro_batch_row,
    result_row,
    to_job,
)
from storage.records.sql import Database, upsert
from storage.records.tables import attempts, batches, feedback, jobs, micro_batches, model_versions, results


class Records:
    """Raises Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, known: Sequence[Job]) -> None:
        """Write jobs with their attempts, results and micro-batches.

        Rows with a newer revision stay.
        """
        with self._database.begin(alone=True) as connection:
            revisions = _revisions(connection, [job.id for job in known])
            newer = [job for job in known if job.revision >= revisions.get(job.id, 0)]
            upsert(connection, jobs, map(job_row, newer))
            upsert(connection, attempts, map(attempt_row, newer))
            upsert(connection, results, filter(None, map(result_row, newer)))
            ended = {row["id"]: row for row in map(micro_batch_row, newer) if row}
            upsert(connection, micro_batches, ended.values())

    def write_batches(self, opened: Iterable[tuple[BatchSpec, str]]) -> None:
        """`opened`: each batch's spec, and how it was closed ("" while it is open)."""
        names = ("id", "tenant", "name", "lane", "model", "deadline_s", "created_ms")
        rows = [
            {**{name: getattr(spec, name) for name in names}, "closed": how, "erased_ms": 0} for spec, how in opened
        ]
        with self._database.begin(alone=True) as connection:
            upsert(connection, batches, rows)

    def write_feedback(self, given: Iterable[Feedback]) -> None:
        with self._database.begin(alone=True) as connection:
            upsert(connection, feedback, map(feedback_row, given))

    def write_model(self, version: str, published_ms: int, card: Mapping[str, Any]) -> None:
        row = {"id": version, "published_ms": published_ms, "trained_on": str(card["trained_on"]), "card": card}
        with self._database.begin(alone=True) as connection:
            upsert(connection, model_versions, [row])

    def models(self) -> set[str]:
        with self._database.begin() as connection:
            return set(connection.scalars(select(model_versions.c.id)))

    def erase(self, erased: Mapping[str, int]) -> None:
        """Erase the personal data of jobs and batches. `erased`: id → revision of the erasure.

        This removes names, tags, request ids, digests, results and the text of feedback. That a job
        existed, its times and its worker remain.
        """
        with self._database.begin(alone=True) as connection:
            revisions = _revisions(connection, list(erased))
            _forget(connection, {name: at for name, at in erased.items() if at >= revisions.get(name, 0)})

    def erase_overdue(self, before_ms: int) -> int:
        """Erase jobs whose retention ended before `before_ms`. Returns how many.

        Their erasure was not recorded because Redis lost it.
        """
        overdue = and_(jobs.c.retained_until_ms.between(1, before_ms), jobs.c.erased_ms == 0)
        with self._database.begin(alone=True) as connection:
            found = {
                row.id: row.revision for row in connection.execute(select(jobs.c.id, jobs.c.revision).where(overdue))
            }
            _forget(connection, found)
        return len(found)

    def page(self, tenant: str, wanted: JobFilter, limit: int, after: Cursor | None) -> tuple[list[Job], Cursor | None]:
        """Up to `limit` of the tenant's jobs, newest first, and the cursor of the next page, if
        any.
        """
        chosen = select(jobs).where(jobs.c.tenant == tenant, jobs.c.erased_ms == 0, *_conditions(wanted, after))
        newest = chosen.order_by(jobs.c.created_ms.desc(), jobs.c.id.desc()).limit(limit + 1)
        found = self._jobs(newest)
        page = found[:limit]
        more = len(found) > limit
        return page, Cursor(page[-1].spec.created_ms, page[-1].id) if more else None

    def job(self, job_id: str) -> Job | None:
        """The job as last recorded; None for an unknown or erased one."""
        found = self._jobs(select(jobs).where(jobs.c.id == job_id, jobs.c.erased_ms == 0))
        return found[0] if found else None

    def _jobs(self, chosen: Select[Any]) -> list[Job]:
        """The chosen rows of `jobs`, newest first, joined with their attempts, results and micro-
        batches.
        """
        with self._database.begin() as connection:
            return [to_job(row) for row in connection.execute(_whole(chosen)).mappings()]

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """Rows of `attempts`, oldest first, even for an erased job."""
        with self._database.begin() as connection:
            rows = connection.execute(select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number))
            return [cast(AttemptRow, dict(row)) for row in rows.mappings()]

    def feedback(self, job_id: str) -> list[Feedback]:
        """All feedback on the job, oldest first."""
        of_job = and_(feedback.c.job_id == job_id, feedback.c.erased_ms == 0)
        with self._database.begin() as connection:
            rows = connection.execute(select(feedback).where(of_job).order_by(feedback.c.id))
            return [Feedback.from_fields(row._asdict()) for row in rows]

    def recorded(self, first_id: str, last_id: str) -> dict[str, Status]:
        """Job id → status for ids from `first_id` to `last_id`, without erased jobs."""
        between = and_(jobs.c.id.between(first_id, last_id), jobs.c.erased_ms == 0)
        with self._database.begin() as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.status).where(between))
            return {row.id: Status(row.status) for row in rows}

    def recorded_feedback(self) -> set[str]:
        with self._database.begin() as connection:
            return set(connection.scalars(select(feedback.c.id)))


def _whole(chosen: Select[Any]) -> Select[Any]:
    """Select in a subquery, then join: a database without statistics might join whole tables."""
    of = chosen.subquery()
    return (
        select(
            of,
            attempts.c.timings_ms,
            attempts.c.offsets_ms,
            attempts.c.error,
            attempts.c.model.label("got"),
            micro_batches.c.size,
            results.c.classes,
            results.c.confidence,
            results.c.sha256.label("result_sha256"),
        )
        .outerjoin(attempts, and_(attempts.c.job_id == of.c.id, attempts.c.number == of.c.attempt))
        .outerjoin(results, and_(results.c.job_id == of.c.id, results.c.attempt == of.c.attempt))
        .outerjoin(micro_batches, micro_batches.c.id == attempts.c.micro_batch_id)
        .order_by(of.c.created_ms.desc(), of.c.id.desc())
    )


def _conditions(wanted: JobFilter, after: Cursor | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(jobs.c.status == wanted.status)
    if wanted.batch_id is not None:
        conditions.append(jobs.c.batch_id == wanted.batch_id if wanted.batch_id else false())
    if wanted.created_after_ms is not None:
        conditions.append(jobs.c.created_ms > wanted.created_after_ms)
    if after is not None:
        conditions.append(tuple_(jobs.c.created_ms, jobs.c.id) < tuple_(after.created_ms, after.job_id))
    return conditions


def _revisions(connection: Connection, job_ids: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(select(jobs.c.id, jobs.c.revision).where(jobs.c.id.in_(job_ids)))
    return {row.id: row.revision for row in rows}


def _forget(connection: Connection, revisions: Mapping[str, int]) -> None:
    """Erase the personal data. `revisions`: job or batch id → revision of the erasure."""
    if not revisions:
        return
    now_ms, names = clock.now_ms(), list(revisions)
    nameless = update(jobs).where(jobs.c.id == bindparam("name")).values(
        custom_id="", filename="", sha256="", tags="", request_id="", traceparent="",
        erased_ms=now_ms, revision=bindparam("at"),
    )  # fmt: skip
    connection.execute(nameless, [{"name": name, "at": at} for name, at in revisions.items()])
    connection.execute(delete(results).where(results.c.job_id.in_(names)))
    connection.execute(update(batches).where(batches.c.id.in_(names)).values(name="", erased_ms=now_ms))
    said = {"note": "", "mask_key": "", "erased_ms": now_ms}
    connection.execute(update(feedback).where(feedback.c.job_id.in_(names)).values(**said))
