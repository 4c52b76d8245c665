"""Runs of the learning loop as rows of `training_runs`, for later questions. The object store has them first."""

from typing import Any

from sqlalchemy import select

from storage.records.sql import Database, upsert
from storage.records.tables import training_runs
from storage.training.runs import Run


class RunRecords:
    """Raises Unavailable if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, run: Run) -> None:
        with self._database.begin(alone=True) as connection:
            upsert(connection, training_runs, [_row(run)])

    def finished(self) -> set[str]:
        """The ids of the runs that are recorded with their end."""
        with self._database.begin() as connection:
            return set(connection.scalars(select(training_runs.c.id).where(training_runs.c.finished_ms > 0)))


def _row(run: Run) -> dict[str, Any]:
    result = run.outcome.result if run.outcome else {}
    return {
        "id": run.spec.id,
        "kind": run.spec.kind,
        "status": run.status,
        "version": run.spec.parameters.get("candidate", ""),
        "dataset": result.get("dataset", run.spec.parameters.get("dataset", "")),
        "parameters": run.spec.parameters,
        "metrics": {**run.progress.figures, **result},
        "started_ms": run.spec.created_ms,
        "finished_ms": run.outcome.finished_ms if run.outcome else 0,
    }
