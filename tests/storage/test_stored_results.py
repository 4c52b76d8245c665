"""The masks that a backfill may make again, in each kind of database."""

from dataclasses import replace
from typing import Any

import pytest
from specs import spec

from storage import clock
from storage.job import Job, Outcome, Status
from storage.records import stored_results
from storage.records.jobs import Records
from storage.records.sql import Database
from storage.records.stored_results import ResultFilter, StoredResults

LATER_MS = clock.now_ms() + 10_000_000


def job(confidence: float, version: str = "2", **changes: Any) -> Job:
    made = spec(**changes)
    result = {"width": 64, "height": 48, "classes": [], "confidence": confidence, "sha256": "ab" * 32}
    outcome = Outcome(Status.SUCCEEDED, {"name": "pets", "version": version}, result)
    return Job(made, Status.SUCCEEDED, made.created_ms, retained_until_ms=LATER_MS, outcome=outcome)


def wanted(**changes: Any) -> ResultFilter:
    return replace(ResultFilter("pets/3", clock.now_ms()), **changes)


def by_confidence(database: Database, low: float = -1, high: float = 2, **changes: Any) -> list[str]:
    pages = StoredResults(database).by_confidence(wanted(**changes), low, high)
    return [one.job_id for page in pages for one in page]


def test_the_order_holds_over_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_results, "PAGE", 3)
    jobs = [job(confidence) for confidence in (0.9, 0.7, 0.7, 0.7, 0.7, 0.95, 0.5, 1.0, 0.65)]
    Records(database).write(jobs)
    lowest_first = sorted(jobs, key=lambda one: (((one.outcome and one.outcome.result) or {})["confidence"], one.id))
    assert by_confidence(database) == [one.id for one in lowest_first]
    assert by_confidence(database, 0.65, 0.9) == [one.id for one in lowest_first[1:6]]
    newest = [one.job_id for page in StoredResults(database).newest_first(wanted()) for one in page]
    assert newest == sorted((one.id for one in jobs), reverse=True)


def test_only_masks_that_the_version_may_make_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_results, "PAGE", 2)
    records, kept = Records(database), [job(0.6), job(0.8, model="canary"), job(0.7, tenant="acme")]
    erased, failed = job(0.6), replace(job(0.6), status=Status.FAILED, outcome=Outcome(Status.FAILED, error={}))
    others = [
        job(0.6, version="3"),
        job(0.6, model="pets/2"),
        replace(job(0.6), retained_until_ms=clock.now_ms() - 1),
    ]
    records.write([*kept, erased, failed, *others])
    records.erase({erased.id: clock.now_ms() + 5000})
    assert by_confidence(database) == [kept[0].id, kept[2].id, kept[1].id]
    assert by_confidence(database, tenant="acme") == [kept[2].id]
    assert by_confidence(database, tenant="nobody") == []
