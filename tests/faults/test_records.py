"""The SQL database down under load: masks are not delayed, and afterwards no record is missing."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import offline
import pytest
import services
from damage import sqlite_locked
from scene import QUICK
from services import Service
from sqlalchemy import text
from stack import Stack

from storage.records.sql import Database

AT_A_TIME = 20  # jobs submitted before waiting for the first


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="segue-postgres-"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def postgres_killed(folder: Path, service: Service) -> Iterator[None]:
    service.process.kill()
    service.process.wait()
    yield
    (folder / "data" / "postmaster.pid").unlink(missing_ok=True)
    again = services.start_postgres(folder, service.port)
    service.process = again.process


def work_for(stack: Stack, seconds: float) -> dict[str, float]:
    """Submit jobs and fetch their masks for some time. Returns the seconds that each job took."""
    photos, ended = offline.photos(), dict[str, float]()
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        sent = [stack.submit(photos[number % len(photos)].content) for number in range(AT_A_TIME)]
        for job in stack.all_finished(sent, 30):
            assert job["status"] == "succeeded", job
            ended[job["id"]] = job["timings_ms"]["total"] / 1000
    return ended


def recorded(database: Database) -> dict[str, str]:
    """Return the status of each job whose attempt and result are recorded too."""
    whole = (
        "SELECT jobs.id, jobs.status FROM jobs JOIN attempts ON attempts.job_id = jobs.id"
        " JOIN results ON results.job_id = jobs.id WHERE attempts.status = jobs.status"
    )
    with database.begin() as connection:
        return {row.id: row.status for row in connection.execute(text(whole))}


def check(stack: Stack, database: Database, ended: dict[str, float]) -> None:
    """Check that all records are complete a few seconds after the database is back."""
    services.wait_until(lambda: recorded(database).keys() >= ended.keys(), f"{len(ended)} records")
    assert {status for job_id, status in recorded(database).items() if job_id in ended} == {"succeeded"}
    listed = stack.http.get("/v1/jobs", params={"limit": 200}).json()["data"]
    assert {job["id"] for job in listed} <= ended.keys()
    assert len(listed) == min(200, len(ended))


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.full)])
def test_postgres_killed_under_load(tmp_path: Path, postgres_folder: Path, seconds: int) -> None:
    service = services.start_postgres(postgres_folder)
    database = Database(services.postgres_url(service.port))
    try:
        with Stack(tmp_path, **QUICK, SQL_URL=database.url) as stack:
            before = work_for(stack, 5)
            with postgres_killed(postgres_folder, service):
                meanwhile = work_for(stack, seconds)
                assert stack.http.get("/v1/jobs").status_code == 503
                assert stack.http.get("/readyz").status_code == 200
            check(stack, database, before | meanwhile)
            print_pace(before, meanwhile, seconds)
    finally:
        database.dispose()
        service.stop(services.signal.SIGINT)


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.full)])
def test_sqlite_locked_under_load(tmp_path: Path, seconds: int) -> None:
    with Stack(tmp_path, **QUICK) as stack:
        database = Database(f"sqlite:///{tmp_path}/records.db")
        before = work_for(stack, 5)
        with sqlite_locked(tmp_path / "records.db"):
            meanwhile = work_for(stack, seconds)
        check(stack, database, before | meanwhile)
        database.dispose()
        print_pace(before, meanwhile, seconds)


def print_pace(before: dict[str, float], meanwhile: dict[str, float], seconds: int) -> None:
    """Print the pace with and without the database, for `pytest -s`."""
    with_it, without = len(before) / 5, len(meanwhile) / seconds
    print(f"\n{len(meanwhile)} jobs in {seconds} s without SQL: {without:.0f}/s, before {with_it:.0f}/s; none missing")
