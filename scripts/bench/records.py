"""Measures the cost of the records and the time for a page of them: part of `make bench`."""

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
from pydantic import SecretStr
from specs import spec
from stack import Stack

from storage.connection import Storage, connect
from storage.job import Finished, Job, Outcome, Status
from storage.settings import Settings
from web.app import create_app
from worker.housekeeping.recorder import record

RECORDED, PAGES, ROUNDS, TOLD = 50_000, 40, 5, 800
CLASSES = [{"id": n, "name": f"class {n}", "color": [n, n, n], "pixels": 1, "fraction": 0.3} for n in range(3)]
RESULT = {"width": 640, "height": 480, "classes": CLASSES, "confidence": 0.9, "sha256": "ab" * 32}
HOT = ("web", "workers", "redis")


def ended(number: int) -> Job:
    made = spec(filename=f"IMG_{number:06}.jpg", created_ms=1_790_000_000_000 + number)
    status = Status.FAILED if number % 10 == 0 else Status.SUCCEEDED
    error = {"code": "image_decode_failed"} if status is Status.FAILED else None
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


def lists() -> None:
    """Time GET /v1/jobs for a tenant with RECORDED jobs, through the web app."""
    with databases() as urls:
        for name, url in urls.items():
            settings = Settings(s3_secret_key=SecretStr("x"), sql_url=SecretStr(url))
            connection, started = connect(settings), time.perf_counter()
            connection.database.migrate()
            for start in range(0, RECORDED, 500):
                connection.records.write([ended(number) for number in range(start, start + 500)])
            with connection.database.begin() as sql:
                sql.exec_driver_sql("ANALYZE")  # PostgreSQL would run it within a minute
            written = (time.perf_counter() - started) / RECORDED * 1e6
            first, deep, failed = (page_ms(settings, query) for query in ({}, {"deep": True}, {"status": "failed"}))
            print(
                f"{name}, {RECORDED} jobs, {written:.0f} µs to write one; a page of 50, median / worst of {PAGES}: "
                f"newest {first}, from the middle on {deep}, failed ones {failed}",
                flush=True,
            )
            connection.database.dispose()


def page_ms(settings: Settings, query: dict[str, object]) -> str:
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
    return f"{statistics.median(times):.0f} / {max(times):.0f} ms"


def hot_path(stack: Stack, work: Callable[[], int], cpu_ms: Callable[[Stack], dict[str, float]]) -> None:
    """Compare the CPU time of web, worker and Redis while the housekeeper records and while it is stopped.

    On a busy machine every process slows down the others. The object store does not depend on the
    records, so its increase shows how much of the total is due to that.
    """

    def spent() -> dict[str, float]:
        before = cpu_ms(stack)
        jobs = work()
        return {name: (after - before[name]) / jobs for name, after in cpu_ms(stack).items()}

    rises = defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        with damage.stopped(stack.pids(damage.HOUSEKEEPER)):
            without = spent()
        recording = spent()
        for name, ms in recording.items():
            rises[name].append(ms / without[name])
        rises["hot"].append(sum(recording[name] for name in HOT) / sum(without[name] for name in HOT))
    hot, store = (f"{statistics.median(rises[name]) * 100 - 100:+.1f} %" for name in ("hot", "s3"))
    print(
        f"records: CPU of web, worker and Redis {hot} compared with a stopped housekeeper, of the object store {store}",
        flush=True,
    )


def own_costs() -> None:
    """Measure alone each step on an image's path that exists only for the records."""
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            url, sql_url = f"redis://127.0.0.1:{redis.port}/0", SecretStr(f"sqlite:///{folder}/records.db")
            made = connect(Settings(redis_url=url, sql_url=sql_url, s3_secret_key=SecretStr("x")))
            made.database.migrate()
            made.jobs.epoch.mark_intact()
            telling, noting, reading = telling_ms(made), noting_ms(made), reading_ms(made)
        finally:
            redis.stop()
    print(
        f"records, CPU ms per image: the worker sends a message {telling:.3f}, Redis notes the change {noting:.3f}, "
        f"the housekeeper reads it {reading:.3f}: {telling + noting + reading:.2f} in total",
        flush=True,
    )


def telling_ms(made: Storage) -> float:
    """Once per micro-batch of 16. Here no message is queued yet, which is the expensive case."""
    started = time.process_time()
    for _ in range(TOLD):
        made.jobs.outbox.needs_message()
        made.tickets.record()
    return (time.process_time() - started) * 1000 / TOLD / 16


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


def main() -> None:
    own_costs()
    lists()


if __name__ == "__main__":
    main()
