"""The review inbox in SQL, for its list. The housekeeper writes it from the objects, seconds later."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, tuple_

from storage.keys import Owner
from storage.records.review_cursor import Cursor
from storage.records.sql import Database, upsert
from storage.records.tables import reviews
from storage.training.reviews import State


class Reviews:
    """Raises Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._database.begin(alone=True) as connection:
            upsert(connection, reviews, rows)

    def remove(self, job_ids: Sequence[str]) -> None:
        with self._database.begin(alone=True) as connection:
            connection.execute(delete(reviews).where(reviews.c.job_id.in_(job_ids)))

    def page(self, state: State, limit: int, after: Cursor | None) -> tuple[list[dict[str, Any]], Cursor | None]:
        """Up to `limit` rows in this state, the highest priority first, and the cursor of the next page, if any."""
        chosen = select(reviews).where(reviews.c.state == state)
        if after:
            chosen = chosen.where(tuple_(reviews.c.priority, reviews.c.job_id) < tuple_(after.priority, after.job_id))
        with self._database.begin() as connection:
            ranked = chosen.order_by(reviews.c.priority.desc(), reviews.c.job_id.desc()).limit(limit + 1)
            found = [dict(row) for row in connection.execute(ranked).mappings()]
        page = found[:limit]
        return page, Cursor(page[-1]["priority"], page[-1]["job_id"]) if len(found) > limit else None

    def tenant(self, job_id: str) -> str | None:
        """The tenant of a reviewed job, even after the job's retention."""
        with self._database.begin() as connection:
            found: str | None = connection.scalar(select(reviews.c.tenant).where(reviews.c.job_id == job_id))
            return found

    def recorded(self) -> dict[Owner, tuple[State, bool]]:
        """Of each review, its state and whether it has scores."""
        with self._database.begin() as connection:
            rows = connection.execute(select(reviews))
            return {(row.tenant, row.job_id): (State(row.state), row.scores is not None) for row in rows}
