"""Leg `records`: the cost of the records and the time for a page of them."""

import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import damage
import services
from accounting import cpu_ms, families
from figures import Row, group
from pydantic import SecretStr
from specs import spec
from stack import Stack

from storage.connection import Storage, connect
from storage.job import Finished, Job, Outcome, Status
from storage.problems import Problem
from storage.records import schema
from storage.settings import Settings
from web.app import create_app
from worker.housekeeping.recorder import record

RECORDED, PAGES, ROUNDS, TOLD = 50_000, 40, 5, 800
CLASSES = [{"id": n, "name": f"class {n}", "color": [n, n, n], "pixels": 1, "fraction": 0.3} for n in range(3)]
RESULT = {"width": 640, "height": 480, "classes": CLASSES, "confidence": 0.9, "sha256": "ab" * 32}
HOT = ("web", "workers", "redis")
DAMAGED = Problem("image_decode_failed", "The image data is damaged or incomplete.")


def ended(number: int) -> Job:
    made = spec(filename=f"IMG_{number:06}.jpg", created_ms=1_790_000_000_000 + number)
    status = Status.FAILED if number % 10 == 0 else Status.SUCCEEDED
    error = DAMAGED.to_dict(f"/v1/jobs/{made.id}") if status is Status.FAILED else None
    outcome = Outcome(status, {"name": "pets", "version": "2"}, None if error else RESULT, {"infer": 3}, error)
    return Job(made, status, number + 1, micro_batch=16, token=f"{number // 16:032}", worker="host-1", outcome=outcome)


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="segue-postgres-"))
    service = services.start_postgres(folder)
    try:
        yield {"SQLite": f"sqlite:///{folder}/records.db", "PostgreSQL": services.postgres_url(service.port)}
    finally:
        service.stop(services.signal.SIGINT)
        shutil.rmtree(folder)


def lists() -> Iterator[Row]:
    """Time GET /v1/jobs for a tenant with RECORDED jobs, through the web app."""
    with databases() as urls:
        for name, url in urls.items():
            settings = Settings(s3_secret_key=SecretStr("x"), sql_url=SecretStr(url))
            connection, started = connect(settings), time.perf_counter()
            schema.migrate(connection.database)
            for start in range(0, RECORDED, 500):
                connection.records.write([ended(number) for number in range(start, start + 500)])
            with connection.database.begin() as sql:
                sql.exec_driver_sql("ANALYZE")  # PostgreSQL would run it within a minute
            written = (time.perf_counter() - started) / RECORDED * 1e6
            pages = {
                page: page_ms(settings, query)
                for page, query in (("newest", {}), ("middle", {"deep": True}), ("failed", {"status": "failed"}))
            }
            medians = {page: statistics.median(times) for page, times in pages.items()}
            worst = {page: max(times) for page, times in pages.items()}
            figures = {"us_to_write_one": written, **group("page_ms", medians), **group("worst_page_ms", worst)}
            yield Row("records", f"{name}, a page of 50 out of {RECORDED}", figures)
            connection.database.dispose()


def page_ms(settings: Settings, query: dict[str, object]) -> list[float]:
    app = create_app(settings)
    client, times = app.test_client(), []
    asked = {name: value for name, value in query.items() if name != "deep"}
    if query.get("deep"):
        asked["cursor"] = f"{1_790_000_000_000 + RECORDED // 2}-job_{'0' * 32}"
    for _ in range(PAGES):
        started = time.perf_counter()
        answer = client.get("/v1/jobs", query_string=asked)
        times.append((time.perf_counter() - started) * 1000)
        document = answer.get_json()
        if len(document["data"]) != 50:
            raise RuntimeError(answer.text)
        asked["cursor"] = document["next_cursor"]
    app.extensions["storage"].database.dispose()
    return times


def hot_path(stack: Stack, work: Callable[[], int]) -> Row:
    """Compare the CPU time of web, worker and Redis while the housekeeper records and while it is stopped.

    On a busy machine every process slows down the others. The object store does not depend on the
    records, so its increase shows how much of the total is due to that. `work` runs jobs and returns how many.
    """

    def spent() -> dict[str, float]:
        pids = families(stack)
        before = {name: cpu_ms(roots) for name, roots in pids.items()}
        jobs = work()
        return {name: (cpu_ms(roots) - before[name]) / jobs for name, roots in pids.items()}

    rises = defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        with damage.stopped(stack.pids(damage.HOUSEKEEPER)):
            without = spent()
        recording = spent()
        rises["hot"].append(sum(recording[name] for name in HOT) / sum(without[name] for name in HOT))
        rises["s3"].append(recording["s3"] / without["s3"])
    ratios = {name: statistics.median(values) for name, values in rises.items()}
    return Row("records", "CPU compared with a stopped housekeeper", group("ratio", ratios))


def own_costs() -> Row:
    """Measure alone each step on an image's path that exists only for the records."""
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            url, sql_url = f"redis://127.0.0.1:{redis.port}/0", SecretStr(f"sqlite:///{folder}/records.db")
            made = connect(Settings(redis_url=url, sql_url=sql_url, s3_secret_key=SecretStr("x")))
            schema.migrate(made.database)
            made.jobs.epoch.mark_intact()
            noting, reading = noting_ms(made), reading_ms(made)
        finally:
            redis.stop()
    parts = {"redis_notes": noting, "housekeeper_reads": reading}
    return Row("records", "CPU of each step alone", group("cpu_ms", {**parts, "all": sum(parts.values())}))


def noting_ms(made: Storage) -> float:
    """For each of a job's three changes, inside the function that makes it."""
    notes = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], i, 'job_' .. i) end"
    return redis_ms(made, lambda: made.jobs.client.eval(notes, 1, "noted", 3 * TOLD)) / TOLD


def reading_ms(made: Storage) -> float:
    """Read after each of a job's three changes.

    Under load, most changes are read together with a later one.
    """
    specs = [spec(created_ms=1_790_000_000_000 + number) for number in range(TOLD)]
    for one in specs:
        made.jobs.enqueue(one)
    spent = redis_ms(made, lambda: record(made))
    while leased := made.jobs.claim(token := uuid4().hex, "drainer", "worker"):
        outcome = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "2"}, RESULT, {"infer": 3})
        spent += redis_ms(made, lambda: record(made))
        made.jobs.finish(token, "worker", 1, [Finished(job.id, "a key", outcome) for job in leased])
        spent += redis_ms(made, lambda: record(made))
    return spent / TOLD


def redis_ms(made: Storage, work: Callable[[], object]) -> float:
    def used() -> float:
        cpu: dict[str, float] = made.jobs.client.info("cpu")
        return (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1000

    before = used()
    work()
    return used() - before
