"""Leg `inputs`: what counting the inputs costs, measured alone. In a whole stack it is less than two runs differ."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import services
from figures import Row, group
from metrics_cost import MICRO_BATCH, TIMES, least_ms
from records import redis_ms
from services import SHIPPED_MODEL
from specs import spec

from model.card import Card
from model.inputs import INPUTS, of_pixels
from storage.connection import Storage, connect
from storage.inputs.counts import add, window
from storage.inputs.drift import compare
from storage.inputs.profile import Profile
from storage.inputs.report import WINDOW_H
from storage.job import Job, Outcome, Status
from storage.settings import Settings
from worker.pipeline.inputs import values_of
from worker.pipeline.micro_batch import Item

VERSION = "pets/3"


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        redis = services.start_redis(Path(folder))
        try:
            made = connect(Settings(redis_url=f"redis://127.0.0.1:{redis.port}/0", s3_secret_key="x"))
            yield from _measure(made, Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes()))
            made.close()
        finally:
            redis.stop()


def _measure(made: Storage, profile: Profile) -> Iterator[Row]:
    """CPU milliseconds of a worker and of Redis per micro-batch and per image, and of a report."""
    card = Card.load(SHIPPED_MODEL)
    side = card.input_size
    item = Item(Job(spec(), Status.RUNNING, 1))
    item.pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    shares = [{"name": label.name, "fraction": 1 / len(card.labels)} for label in card.labels]
    outcome = Outcome(Status.SUCCEEDED, result={"confidence": 0.9, "classes": shares})

    def count() -> None:
        add(made.jobs.client, VERSION, profile, profile.bins(values_of(item, outcome)))

    def statistics() -> None:
        assert item.pixels is not None
        of_pixels(item.pixels)

    parts = {"worker": least_ms(count), "redis": redis_ms(made, lambda: [count() for _ in range(TIMES)]) / TIMES}
    parts["all"] = sum(parts.values())
    yield Row("inputs", "a photo", group("cpu_ms", {**parts, "statistics": least_ms(statistics)}))
    per_image = {name: ms / MICRO_BATCH for name, ms in parts.items()}
    yield Row("inputs", f"an image, {MICRO_BATCH} in a micro-batch", group("cpu_ms", per_image))

    def report() -> None:
        compare(profile, window(made.jobs.client, VERSION, profile, WINDOW_H).counted)

    yield Row("inputs", "a report", group("cpu_ms", {"housekeeper": least_ms(report)}))
