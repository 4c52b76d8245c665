"""A thousand clients wait on one web process, half with `Prefer: wait`, half with server-sent events.

Part of `make bench-web`. Prints how long submits take meanwhile, how long after a job's end its waiter
is notified, and how many status requests per second one process serves.
"""

import asyncio
import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import services
from specs import submit
from web_servers import PHOTO, cpu_s, post

from storage.connection import Storage, connect
from storage.job import Finished, Outcome, Status
from storage.settings import Settings

WAITERS, SUBMITS, READERS, READS = 1000, 200, 8, 4000
PAUSE_S = 0.02  # between the ends of two jobs: the events of about fifty images per second


@dataclass
class Web:
    """A web process with its own Redis and object store."""

    port: int
    pid: int
    storage: Storage


@contextmanager
def web() -> Iterator[Web]:
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), services.free_ports(1)
        redis, s3 = services.start_redis(folder), services.start_s3(folder, "secret")
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_url=f"http://127.0.0.1:{s3.port}", s3_secret_key="secret"
        )
        made = connect(settings)
        services.wait_until(lambda: services.prepared(made.objects), "the object store")
        made.jobs.epoch.mark_intact()
        env = services.joining(settings, PORT=port, LOG_LEVEL="ERROR")
        server = services.start(services.procfile("web"), env, port, folder / "web.log")
        try:
            services.wait_until(lambda: post(port) != float("inf"), "the web process")
            made.jobs.client.flushall()
            made.jobs.epoch.mark_intact()
            yield Web(port, server.process.pid, made)
        finally:
            server.stop()
            redis.stop()
            s3.stop()


async def wait_for(port: int, job_id: str, heard: dict[str, float], events: bool) -> None:
    """Wait until the job has succeeded, repeating the request as often as needed."""
    path, prefer = (f"/v1/jobs/{job_id}/events", "") if events else (f"/v1/jobs/{job_id}", "Prefer: wait=60\r\n")
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{prefer}Connection: close\r\n\r\n".encode()
    while job_id not in heard:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        while chunk := await reader.read(65536):
            if b"succeeded" in chunk:
                heard[job_id] = time.monotonic()
        writer.close()


def finish_all(made: Storage, ended: dict[str, float]) -> None:
    outcome = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "2"}, {"width": 64, "height": 48, "classes": []})
    while jobs := made.jobs.claim(token := uuid4().hex, "drainer", "bench"):
        for job in jobs:
            ended[job.id] = time.monotonic()
            made.jobs.finish(token, "bench", 20, [Finished(job.id, "key", outcome)])
            time.sleep(PAUSE_S)


def submits_ms(port: int) -> list[float]:
    with ThreadPoolExecutor(4) as pool:
        return [seconds * 1000 for seconds in pool.map(lambda _: post(port), range(SUBMITS))]


def waiting(one: Web) -> None:
    ids = [submit(one.storage).id for _ in range(WAITERS)]
    alone = submits_ms(one.port)
    ended: dict[str, float] = {}
    heard: dict[str, float] = {}

    async def wait_for_all() -> None:
        waits = [wait_for(one.port, job_id, heard, number % 2 == 0) for number, job_id in enumerate(ids)]
        await asyncio.gather(*waits)

    crowd = threading.Thread(target=lambda: asyncio.run(wait_for_all()))
    crowd.start()
    time.sleep(8)  # until all are connected and waiting
    beside = submits_ms(one.port)
    before = cpu_s(one.pid)
    started = time.monotonic()
    finish_all(one.storage, ended)
    crowd.join()
    lags = sorted((heard[job_id] - ended[job_id]) * 1000 for job_id in ids)
    cpu_ms = (cpu_s(one.pid) - before) * 1000 / WAITERS
    rate = WAITERS / (time.monotonic() - started)
    print(
        f"{WAITERS} waiters on one process: submits p95 {p95(beside):.0f} ms, without them {p95(alone):.0f} ms; from a "
        f"job's end to its waiter {statistics.median(lags):.0f} ms median, {lags[int(WAITERS * 0.99)]:.0f} ms p99, at "
        f"{rate:.0f} ends/s and {cpu_ms:.1f} CPU ms each",
        flush=True,
    )


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def statuses(one: Web, job_id: str, what: str) -> None:
    def read(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", one.port)
        for _ in range(READS // READERS):
            connection.request("GET", f"/v1/jobs/{job_id}")
            connection.getresponse().read()
        connection.close()

    before, started = cpu_s(one.pid), time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, range(READERS)))
    rate, cpu_ms = READS / (time.monotonic() - started), (cpu_s(one.pid) - before) * 1000 / READS
    print(f"GET of {what} job: {rate:.0f} per second by one process, {cpu_ms:.2f} CPU ms each", flush=True)


def main() -> None:
    with web() as one:
        queued = submit(one.storage, PHOTO)
        statuses(one, queued.id, "a queued")
        finish_all(one.storage, {})
        statuses(one, queued.id, "an ended")
        waiting(one)


if __name__ == "__main__":
    main()
