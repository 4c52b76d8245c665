"""Measures the CPU time that traces cost web server and worker, in one process, in turns with and without them.

The CPU time of a busy machine varies less than its wall time. The collector runs in another process.
"""

import argparse
import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import services
from collector import collector
from photos import photos

from storage.connection import connect
from storage.settings import Settings
from telemetry import traces
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

OFF, ON = "without traces", "with traces"
WARM_UP = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300, help="per turn")
    parser.add_argument("--turns", type=int, default=6, help="of each kind")
    asked = parser.parse_args()
    rows: dict[str, list[float]] = {OFF: [], ON: []}
    with ExitStack() as held:
        url, settings = held.enter_context(collecting()), held.enter_context(serving())
        print(f"load average {os.getloadavg()[0]:.1f}")
        one_turn(settings, WARM_UP)
        for turn in range(asked.turns):
            for name in (OFF, ON) if turn % 2 else (ON, OFF):
                endpoint = url if name is ON else ""
                ms = one_turn(settings.replace(otel_exporter_otlp_endpoint=endpoint), asked.photos)
                rows[name].append(ms)
                print(f"{name}: {ms:.2f} CPU ms per image", flush=True)
    ratios = [on / off for on, off in zip(rows[ON], rows[OFF], strict=True)]
    for name, values in {**rows, "ratio": ratios}.items():
        print(f"{name}: median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def one_turn(settings: Settings, count: int) -> float:
    """CPU milliseconds per image to submit and run `count` photos, until the last span is sent."""
    app, sent = create_app(settings), photos(640, 480)
    storage = connect(settings)
    pipeline = Pipeline(storage, Engines(storage.models, settings.model_cache), "worker")
    pipeline.run("warm up")  # loads the model
    client, headers = app.test_client(), {"Content-Type": "image/jpeg"}

    def work() -> None:
        for number in range(count):
            assert client.post("/v1/jobs", data=sent[number % len(sent)], headers=headers).status_code == 202
        while sum(storage.jobs.queue().pending.values()):
            pipeline.run("drainer")
        traces.stop()

    return cpu_ms(work) / count


def cpu_ms(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


@contextmanager
def collecting() -> Iterator[str]:
    """A collector in another process. Yields its URL."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_collect, args=(theirs,))
    process.start()
    yield ours.recv()
    ours.send("end")
    print(f"{ours.recv()} spans received")
    process.join()


def _collect(pipe: Connection) -> None:
    with collector() as made:
        pipe.send(made.url)
        pipe.recv()
        pipe.send(len(made.spans))


@contextmanager
def serving() -> Iterator[Settings]:
    """Redis and an object store with the shipped model. Yields their settings."""
    with tempfile.TemporaryDirectory() as name:
        folder, password = Path(name), secrets.token_hex(16)
        redis, s3 = services.start_redis(folder), services.start_s3(folder, password)
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_url=f"http://127.0.0.1:{s3.port}", s3_secret_key=password,
            sql_url=f"sqlite:///{folder}/records.db", model_cache=folder / "models", log_level="INFO",
        )  # fmt: skip
        storage = connect(settings)
        services.wait_until(lambda: services.prepared(storage.objects), "the object store")
        storage.jobs.epoch.mark_intact()
        storage.models.publish(services.SHIPPED_MODEL)
        try:
            yield settings
        finally:
            redis.stop()
            s3.stop()


if __name__ == "__main__":
    main()
