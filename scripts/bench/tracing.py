"""Measures the CPU time that traces cost web server and worker, in one process, in turns with and without them.

The CPU time of a busy machine varies less than its wall time, but still by a half. The turns are
therefore short and many, and the figure is the median of the pairs' ratios. The collector runs in
another process.
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
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from photos import photos

from storage.connection import connect
from storage.settings import Settings
from telemetry import traces
from telemetry.spans import Recorder
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

OFF, ON = "without traces", "with traces"
Turn = Callable[[int], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=64, help="per turn")
    parser.add_argument("--turns", type=int, default=40, help="of each kind")
    asked = parser.parse_args()
    rows: dict[str, list[float]] = {OFF: [], ON: []}
    with ExitStack() as held:
        url, settings = held.enter_context(collecting()), held.enter_context(serving())
        print(f"load average {os.getloadavg()[0]:.1f}")
        turns = {OFF: turn_of(settings, ""), ON: turn_of(settings, url)}
        for turn in turns.values():
            turn(asked.photos)  # loads the model
        for number in range(asked.turns):
            for name in (OFF, ON) if number % 2 else (ON, OFF):
                rows[name].append(turns[name](asked.photos))
    ratios = [on / off for on, off in zip(rows[ON], rows[OFF], strict=True)]
    for name, values in {**rows, "ratio": ratios}.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name}: median {middle:.3f}, middle half {low:.3f} to {high:.3f}")


def turn_of(settings: Settings, url: str) -> Turn:
    """A web server and a worker that send spans to `url`, or none if it is "".

    The returned function submits and runs photos, and returns CPU milliseconds per image, until the
    last span is sent.
    """
    processor = BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")) if url else None
    recorder = Recorder("bench", processor) if processor else None
    traces.use(recorder)
    client, sent, headers = create_app(settings).test_client(), photos(640, 480), {"Content-Type": "image/jpeg"}
    storage = connect(settings)
    pipeline = Pipeline(storage, Engines(storage), "worker")

    def work(count: int) -> float:
        traces.use(recorder)
        started = time.process_time()
        for number in range(count):
            assert client.post("/v1/jobs", data=sent[number % len(sent)], headers=headers).status_code == 202
        while sum(storage.jobs.queue().pending.values()):
            pipeline.run("drainer")
        if processor:
            processor.force_flush()
        return (time.process_time() - started) * 1000 / count

    return work


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
