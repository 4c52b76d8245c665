"""Leg `bare`: the CPU time of decoding, inference and encoding, in one thread without HTTP, queue or storage."""

import time
from collections.abc import Sequence

from figures import Row, group
from work import Work

MICRO_BATCH = 16


def bare(name: str, photos: Sequence[bytes], images: int) -> Row:
    """`images`: a multiple of the micro-batch."""
    work, started = Work(), time.perf_counter()
    for start in range(0, images, MICRO_BATCH):
        batch = [photos[number % len(photos)] for number in range(start, start + MICRO_BATCH)]
        for photo in batch:
            work.check(photo)
        work.masks(batch)
    stages = {stage: seconds * 1000 / images for stage, seconds in work.stages_s.items()}
    rate = images / (time.perf_counter() - started)
    return Row("bare", name, {"images_per_s": rate, "cpu_ms.all": sum(stages.values()), **group("stage_ms", stages)})
