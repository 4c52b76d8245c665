"""The images of one claim, with the results of the stages so far."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.segmenter import Segmenter
from storage.job import Finished, Job
from storage.problems import Problem


@dataclass
class Item:
    """One job in the pipeline.

    `pixels`: the network's input, RGB; `logits`: the network's output. Each stage that has ended has its wall time in
    `timings_ms` and its start, in ms after the claim, in `offsets_ms`.
    """

    job: Job
    pixels: NDArray[np.uint8] | None = None  # [size,size,3]
    shadow_pixels: NDArray[np.uint8] | None = None  # the canary's input, if the photo is shadowed
    logits: NDArray[np.float32] | None = None  # [size,size,classes]
    problem: Problem | None = None
    claimed_at: float = field(default_factory=time.monotonic)  # monotonic seconds
    timings_ms: dict[str, int] = field(default_factory=dict)
    offsets_ms: dict[str, int] = field(default_factory=dict)
    decoding_bytes: int = 0  # memory reserved for its decoder; 0 until decoding begins
    given_up: bool = False  # decoding must not begin any more

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.note_stage(stage, started)

    def note_stage(self, stage: str, started: float) -> None:
        """Note a stage that ends now. `started`: monotonic seconds."""
        self.offsets_ms[stage] = round((started - self.claimed_at) * 1000)
        self.timings_ms[stage] = round((time.monotonic() - started) * 1000)


@dataclass
class MicroBatch:
    """Jobs of one model version, with the futures of their stage.

    `claiming_at`, `claimed_at`: before and after the claim, in monotonic seconds.

    `shadow`: the canary, if some of the photos are shadowed.

    `isolated`: this job runs without other jobs in the process, because earlier attempts at it crashed their workers.
    """

    token: str
    segmenter: Segmenter
    items: list[Item]
    claiming_at: float
    claimed_at: float
    isolated: bool
    shadow: Segmenter | None = None
    fetching: list[Future[None]] = field(default_factory=list)
    storing: list[Future[Finished]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [item.job.id for item in self.items]
