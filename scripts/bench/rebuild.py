"""Leg `rebuild`: how long Redis takes to be rebuilt from the object store while new uploads arrive."""

import secrets
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import pictures
import services
import specs
from figures import Row

from storage.connection import Storage, connect
from storage.settings import Settings
from worker.housekeeping.sweeps import adopt_after_loss

JOBS = 10_000


def rebuild() -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        folder, secret = Path(scratch), secrets.token_hex(8)
        redis, s3 = services.start_redis(folder), services.start_s3(folder, secret)
        try:
            url, store = f"redis://127.0.0.1:{redis.port}/0", f"http://127.0.0.1:{s3.port}"
            return measure(connect(Settings(redis_url=url, s3_url=store, s3_secret_key=secret)))
        finally:
            redis.stop()
            s3.stop()


def measure(connection: Storage) -> Row:
    services.wait_until(lambda: services.prepared(connection.objects), "the object store")
    photo = pictures.jpeg()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: specs.submit(connection, photo), range(JOBS)))
    connection.jobs.client.flushall()
    accepted, over = [], threading.Event()

    def submit() -> None:
        while not over.wait(0.02):
            accepted.append(specs.submit(connection, photo))

    submitter = threading.Thread(target=submit)
    submitter.start()
    started = time.monotonic()
    adopt_after_loss(connection)
    seconds = time.monotonic() - started
    over.set()
    submitter.join()
    queued = sum(connection.jobs.queue().pending.values())
    figures = {"seconds": seconds, "accepted_meanwhile": len(accepted), "queued": queued}
    return Row("rebuild", f"{JOBS} jobs after FLUSHALL", figures)
