"""What the records cost, and how fast a page of them is: part of `make bench`."""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import damage
import services
from pydantic import SecretStr
from specs import spec
from stack import Stack

import storage
from storage.job import Job, Outcome, Status
from storage.settings import Settings
from web.app import create_app

RECORDED, PAGES, ROUNDS = 50_000, 40, 3
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
    """GET /v1/jobs over RECORDED jobs of one tenant, through the web app."""
    with databases() as urls:
        for name, url in urls.items():
            settings = Settings(s3_secret_key=SecretStr("x"), sql_url=SecretStr(url))
            connection, started = storage.connect(settings), time.perf_counter()
            connection.database.migrate()
            for start in range(0, RECORDED, 500):
                connection.records.write([ended(number) for number in range(start, start + 500)])
            with connection.database.begin() as sql:
                sql.exec_driver_sql("ANALYZE")  # as PostgreSQL does by itself within a minute
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
    """CPU of web, worker and Redis while the housekeeper records, beside the same while it stands still."""

    def spent() -> dict[str, float]:
        before = cpu_ms(stack)
        jobs = work()
        return {name: (after - before[name]) / jobs for name, after in cpu_ms(stack).items()}

    going, standing = [], []
    for _ in range(ROUNDS):
        with damage.stopped(stack.pids(damage.HOUSEKEEPER)):
            standing.append(spent())
        going.append(spent())
    hot = [statistics.median(sum(one[name] for name in HOT) for one in runs) for runs in (going, standing)]
    own = statistics.median(one["housekeeper"] for one in going)
    print(
        f"records: web, worker and Redis {hot[0]:.2f} CPU ms an image while they are written, {hot[1]:.2f} without: "
        f"{hot[0] - hot[1]:+.2f}; the housekeeper itself {own:.2f}",
        flush=True,
    )


def telling_ms() -> float:
    """What a worker spends to tell that something has changed, once a micro-batch."""
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            made = storage.connect(
                Settings(redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_secret_key=SecretStr("x"))
            )
            made.tickets.record()
            started = time.process_time()
            for _ in range(200):
                made.jobs.outbox.unheard()
                made.tickets.record()
            return (time.process_time() - started) * 1000 / 200
        finally:
            redis.stop()


def main() -> None:
    print(f"records: telling that there is something to write takes a worker {telling_ms():.2f} CPU ms a micro-batch")
    lists()


if __name__ == "__main__":
    main()
