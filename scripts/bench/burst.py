"""Leg `burst`: thousands of single uploads as fast as the server accepts them, timed until the last job has ended."""

import time
from collections.abc import Sequence

import load
from accounting import Meter, families
from closed import inside
from figures import Row, percentiles
from stack import Stack

CLIENTS, LOOK_S = 32, 0.2


def burst(stack: Stack, name: str, photos: Sequence[bytes], jobs: int) -> Row:
    meter, started = Meter(families(stack)), time.perf_counter()
    sent = load.Load(stack.port, photos, CLIENTS, jobs).submit_all()
    client = load.Client(stack.port)
    while any(lane["pending"] or lane["running"] for lane in client.queue()["lanes"].values()):
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - started
    spent = meter.figures(jobs)
    documents = client.jobs(sent.locations)
    client.close()
    ended = [one["timings_ms"]["total"] / 1000 for one in documents if one["status"] == "succeeded"]
    figures = {
        "images_per_s": len(ended) / wall_s,
        "accepted_per_s": len(sent.locations) / sent.wall_s,
        "errors": jobs - len(ended),
        "until_done_s": wall_s,
        **percentiles("submit_ms", sent.posts_s),
        **percentiles("job_ms", ended),
    }
    return Row("burst", f"{name}, {jobs} uploads", {**figures, **spent, **inside(documents)})
