"""The masks that a backfill may make again, in SQL: in the order of their confidence, or the newest first.

Each page is chosen from the table `results` by an index, and only then joined and filtered. So no page costs more
than its rows, however many masks are stored and however few of them are wanted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, select, tuple_

from storage.job import Status
from storage.records.sql import Database
from storage.records.tables import attempts, jobs, results

PAGE = 500


@dataclass(frozen=True)
class StoredResult:
    """A succeeded job, the mean confidence of its mask, and when it will be erased (ms UTC)."""

    job_id: str
    tenant: str
    confidence: float
    retained_until_ms: int


@dataclass(frozen=True)
class ResultFilter:
    """Masks of jobs that asked for an alias, made by another version than `version` and kept beyond `kept_after_ms`.

    `tenant`: the owner; "" for all.
    """

    version: str
    kept_after_ms: int
    tenant: str = ""


class StoredResults:
    """Raises Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_confidence(self, wanted: ResultFilter, low: float, high: float) -> Iterator[list[StoredResult]]:
        """Pages of those with a confidence from `low` to below `high`, the lowest first."""
        place, after = tuple_(results.c.confidence, results.c.job_id), (low, "")
        while True:
            chosen = select(results).where(place > tuple_(*after), results.c.confidence < high)
            rows = self._rows(wanted, chosen, lambda of: (of.c.confidence, of.c.job_id))
            yield _wanted(rows)
            if len(rows) < PAGE:
                return
            after = rows[-1].confidence, rows[-1].job_id

    def newest_first(self, wanted: ResultFilter) -> Iterator[list[StoredResult]]:
        """Pages in the order of the jobs' ids, which begin with the time of submission."""
        before = "k"  # follows every `job_…`
        while True:
            rows = self._rows(
                wanted, select(results).where(results.c.job_id < before), lambda of: (of.c.job_id.desc(),)
            )
            yield _wanted(rows)
            if len(rows) < PAGE:
                return
            before = rows[-1].job_id

    def _rows(
        self, wanted: ResultFilter, chosen: Select[Any], order: Callable[[Any], tuple[Any, ...]]
    ) -> Sequence[Any]:
        """The first PAGE of the chosen results in this order.

        Each has its job's `tenant` and its attempt's `version`, or NULL if those are not wanted.
        """
        of = chosen.order_by(*order(results)).limit(PAGE).subquery()
        job = and_(
            jobs.c.id == of.c.job_id,
            jobs.c.attempt == of.c.attempt,
            jobs.c.status == Status.SUCCEEDED,
            jobs.c.erased_ms == 0,
            jobs.c.retained_until_ms > wanted.kept_after_ms,
            jobs.c.model.not_like("%/%"),  # a pinned version; re-runs pin one, too
            *([jobs.c.tenant == wanted.tenant] if wanted.tenant else []),
        )
        attempt = and_(
            attempts.c.job_id == of.c.job_id,
            attempts.c.number == of.c.attempt,
            attempts.c.model.not_in(["", wanted.version]),
        )
        found = select(
            of.c.job_id, of.c.confidence, jobs.c.tenant, jobs.c.retained_until_ms, attempts.c.model.label("version")
        )
        joined = found.outerjoin_from(of, jobs, job).outerjoin(attempts, attempt).order_by(*order(of))
        with self._database.begin() as connection:
            return connection.execute(joined).all()


def _wanted(rows: Sequence[Any]) -> list[StoredResult]:
    return [
        StoredResult(row.job_id, row.tenant, row.confidence, row.retained_until_ms)
        for row in rows
        if row.tenant and row.version
    ]
