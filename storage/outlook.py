"""Estimates when a waiting job will be done, from its position in the queue and the measured pace."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from storage import clock
from storage.keys import Lane

FOREVER_S = 1e9
SHORTEST_S = 1.0  # how much longer a burst that has just begun is assumed to last
LARGEST_SHARE = 0.8  # the largest share of the workers' time that submissions are assumed to take


@dataclass(frozen=True)
class Pace:
    """How many milliseconds a micro-batch takes the worker that runs it: `batch` + `image` x images +
    `megapixel` x megapixels + `submission` x jobs submitted meanwhile.

    `lua/finish.lua` learns these costs. `deviation`: the mean relative difference between the time of a
    micro-batch and this sum.
    """

    batch: float
    image: float
    megapixel: float
    submission: float
    deviation: float

    def work_ms(self, megapixels: float, micro_batch: int, images: float) -> float:
        """One worker's milliseconds for these images in micro-batches, if nothing is submitted meanwhile.

        `megapixels`: the size of each image.
        """
        return self.batch * max(1.0, images / micro_batch) + (self.image + self.megapixel * megapixels) * images


@dataclass(frozen=True)
class Inflow:
    """The current burst: the number of submissions per second, and for how many seconds it has lasted."""

    per_s: float = 0.0
    since_s: float = 0.0


@dataclass(frozen=True)
class Outlook:
    """A job's position in the queue, and what its ETA is computed from.

    `position`: jobs that would be claimed before it if nothing more were submitted, None if it is not
    waiting; `megapixels`: the mean size of the photos ahead; `pace`: None before the first image; `refusing`:
    workers that cannot use its model now; `pause_reason`: the operator's, empty if jobs are not paused.
    """

    position: int | None
    running: int
    workers: int
    pace: Pace | None
    micro_batch: int
    refusing: int = 0
    megapixels: float = 0.0
    inflow: Inflow = Inflow()
    pause_reason: str = ""

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done; None before the first measurement, without a live worker and during a pause.

        Submissions slow down workers that share their cores with the web server. It is unknown when they
        will end. On average, a burst lasts as long again as it has lasted so far.
        """
        return self._at(self.inflow.since_s + SHORTEST_S)

    @property
    def eta_range_s(self) -> tuple[float, float] | None:
        """From the ETA if submissions end now to the ETA if they never end, widened by the deviation."""
        low, high = self._at(0), self._at(FOREVER_S)
        if low is None or high is None or self.pace is None:
            return None
        spread = 2 * self.pace.deviation
        return low / (1 + spread), high * (1 + spread)

    def _at(self, submissions_s: float) -> float | None:
        """The ETA if submissions continue for this long."""
        if not self.pace or not self.workers or self.pause_reason:
            return None
        # On average, running jobs are half done. One worker runs the whole of the job's own micro-batch.
        ahead, work_ms = self.position or 0, partial(self.pace.work_ms, self.megapixels, self.micro_batch)
        shared_ms, own_ms = work_ms(ahead + self.running / 2 + 1), work_ms(min(ahead + 1, self.micro_batch))
        alone_s = (shared_ms / self.workers + own_ms) / 1000
        lost = min(LARGEST_SHARE, self.pace.submission / 1000 * self.inflow.per_s)
        return min(alone_s / (1 - lost), alone_s + lost * submissions_s)

    @property
    def waiting_reason(self) -> str:
        if self.pause_reason:
            return "paused"
        if not self.workers:
            return "no_live_worker"
        if self.refusing >= self.workers:
            return "model_loading"
        return "behind_others" if (self.position or 0) >= self.micro_batch else "batch_filling"


@dataclass(frozen=True)
class QueueState:
    """A snapshot of the queue.

    `ms_per_image` and `micro_batch` are moving averages, None before the first image.
    """

    pending: dict[Lane, int]
    running: dict[Lane, int]
    oldest_created_ms: dict[Lane, int | None]
    workers: int
    ms_per_image: float | None
    micro_batch: float | None

    @property
    def images_per_s(self) -> float:
        return self.workers * 1000 / self.ms_per_image if self.ms_per_image else 0.0

    def oldest_s(self, lane: Lane) -> float | None:
        """Age of the lane's oldest waiting job; None if none waits."""
        created_ms = self.oldest_created_ms[lane]
        return max(0.0, (clock.now_ms() - created_ms) / 1000) if created_ms else None

    def backlog_s(self, planned_workers: int, more: int = 0, lanes: Collection[Lane] = tuple(Lane)) -> float | None:
        """Seconds until all waiting and running jobs of the lanes and `more` images are done.

        None before the first measurement. While no worker is alive, assumes that the
        `planned_workers` will return.
        """
        images = sum(self.pending[lane] + self.running[lane] for lane in lanes) + more
        if not images:
            return 0.0
        if not self.ms_per_image:
            return None
        return images * self.ms_per_image / 1000 / (self.workers or planned_workers)
