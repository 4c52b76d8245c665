"""Leg `metrics`: what the metrics cost, measured alone. In a whole stack it is less than two runs differ."""

import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import load
import services
from accounting import cpu_ms, families
from figures import Row, group
from flask import Flask, Response
from photos import photos
from records import redis_ms
from running import running
from services import SHIPPED_MODEL
from specs import spec

from model.segmenter import Segmenter
from storage.connection import connect
from storage.job import Job, Status
from storage.settings import Settings
from web import measuring as of_web
from worker.pipeline import measuring as of_worker
from worker.pipeline.micro_batch import Item

MICRO_BATCH, REQUESTS = 8, 3  # images per micro-batch, and requests per image
COUNTED = 2 + 1 / MICRO_BATCH  # counts in Redis per image: accepted, ended, and a share of `attempts`
TIMES, SERIES, SCRAPES, JOBS = 2000, 5, 100, 64
TIMINGS = {"fetch": 4, "decode": 6, "infer": 60, "encode": 3, "store": 7}


def rows() -> Iterator[Row]:
    parts = {"worker": worker_ms(), "web": web_ms(), "redis": counting_ms()}
    yield Row("metrics", "CPU per image of each part alone", group("cpu_ms", {**parts, "all": sum(parts.values())}))
    yield scrapes()


def least_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call, in the fastest of several series."""
    spent = []
    for _ in range(SERIES):
        before = time.process_time()
        for _ in range(TIMES):
            work()
        spent.append((time.process_time() - before) * 1000 / TIMES)
    return min(spent)


def worker_ms() -> float:
    segmenter = Segmenter(SHIPPED_MODEL)
    items = [Item(Job(spec(), Status.RUNNING, 1), timings_ms=TIMINGS) for _ in range(MICRO_BATCH)]

    def micro_batch() -> None:
        of_worker.count_claim(MICRO_BATCH)
        of_worker.count_inference(segmenter, items)
        of_worker.count_stages(items)

    return least_ms(micro_batch) / MICRO_BATCH


def web_ms() -> float:
    """The difference that the registered functions make."""
    spent = []
    for register in (lambda _: None, of_web.register):
        app, response = Flask("bench"), Response()
        app.add_url_rule("/v1/jobs/<job_id>", view_func=lambda job_id: job_id)
        register(app)
        with app.test_request_context("/v1/jobs/job_1"):

            def handle(app: Flask = app, response: Response = response) -> None:
                app.preprocess_request()
                app.process_response(response)

            spent.append(least_ms(handle))
    return REQUESTS * (spent[1] - spent[0])


def counting_ms() -> float:
    """In Redis, inside the functions that make the transitions."""
    counts = "for _ = 1, ARGV[1] do redis.call('HINCRBY', KEYS[1], 'ended:succeeded', 1) end"
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            made = connect(Settings(redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_secret_key="x"))
            number = 100 * TIMES
            return redis_ms(made, lambda: made.jobs.client.eval(counts, 1, "counted", number)) / number * COUNTED
        finally:
            redis.stop()


def scrapes() -> Row:
    """CPU milliseconds per scrape, in the process that answers it and in Redis."""
    first = services.free_ports(4)
    with running(1, METRICS_PORT=first) as stack:
        load.Load(stack.port, photos(640, 480), 8, JOBS).closed_loop(load.two_requests)
        processes = families(stack)
        before = {name: cpu_ms(pids) for name, pids in processes.items()}
        for _ in range(SCRAPES):
            for port in range(first, first + 3):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                    answer.read()
        spent = {name: (cpu_ms(pids) - before[name]) / SCRAPES for name, pids in processes.items()}
    return Row("metrics", "a scrape of all processes", group("cpu_ms", spent))
