"""Leg `closed`: clients, each of which sends its next photo once it has the mask of the last one."""

import statistics
from collections.abc import Sequence
from typing import Any

import load
from accounting import Meter, families
from figures import Row, group
from stack import Stack

SAMPLED = 200


def closed(stack: Stack, name: str, photos: Sequence[bytes], clients: int, jobs: int, *, way: str) -> Row:
    """`way`: a key of load.WAYS."""
    meter = Meter(families(stack))
    seen = load.Load(stack.port, photos, clients, jobs).closed_loop(load.WAYS[way])
    figures = {**seen.figures(), **meter.figures(jobs)}
    documents = load.Client(stack.port).jobs(seen.locations[-SAMPLED:])
    asked = "one request" if way == "one" else "two requests"
    return Row("closed", f"{name}, {clients} clients, {asked}", {**figures, **inside(documents)})


def inside(jobs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean micro-batch and mean milliseconds of wall time per stage, from the documents of ended jobs."""
    timings = [job["timings_ms"] for job in jobs if job["status"] == "succeeded"]
    if not timings:
        return {}
    sizes = [job["micro_batch"]["size"] for job in jobs if job["micro_batch"]]
    stages = {stage: statistics.fmean(one.get(stage, 0) for one in timings) for stage in timings[0]}
    return {"micro_batch": statistics.harmonic_mean(sizes), **group("stage_wall_ms", stages)}


def answers_with_masks(stack: Stack, photo: bytes) -> bool:
    """Whether the server answers a POST with the mask itself."""
    client = load.Client(stack.port)
    answer = client.submit(photo, Prefer="wait=60", Accept=load.PNG)
    client.close()
    return answer.kind == load.PNG
