"""A snapshot of the installation for an operator: `segue top`. Needs the operator's rights."""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import cast

import redis

from storage import keys
from storage.job import Job, Status
from storage.keys import Lane
from storage.pausing import Order, current_order
from storage.queue.counters import Counters
from storage.queue.epoch import server_ms
from storage.queue.jobs import RedisJobs

RECENT_S = 10.0
MOST_RECENT = 1000  # of the jobs that ended last, from which rates, stages and failures are taken
MOST_PARTIES = 1000  # whose queues are counted, in the order of their turns


@dataclass(frozen=True)
class LaneState:
    """`oldest_s`: age of the oldest waiting job; `backlog_s`: seconds of work, None before the first image."""

    lane: Lane
    pending: int
    running: int
    oldest_s: float
    backlog_s: float | None


@dataclass(frozen=True)
class PartyState:
    """A party's waiting jobs: a tenant's, or those of all anonymous tenants at an address."""

    lane: Lane
    party: str
    pending: int


@dataclass(frozen=True)
class WorkerState:
    """`memory_bytes`: of its processes, 0 if unknown. `images_per_s`: jobs that it ended during the last RECENT_S."""

    worker: str
    models: list[str]
    refused: dict[str, str]
    images_per_s: float
    memory_bytes: int


@dataclass(frozen=True)
class StageState:
    """Milliseconds of a stage, over the recent jobs. `infer` is the whole micro-batch's, for each of its images."""

    stage: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Overview:
    """`pause`, `refusal`: an operator's orders (storage/pausing.py). `images_per_s`: jobs that ended during the last
    RECENT_S. `recent_failures`: problem code → how many of the last MOST_RECENT jobs. `counters`: since Redis
    was empty.
    """

    pause: Order | None
    refusal: Order | None
    images_per_s: float
    lanes: list[LaneState]
    parties: list[PartyState]
    workers: list[WorkerState]
    stages: list[StageState]
    recent_failures: dict[str, int]
    counters: Counters


def overview(jobs: RedisJobs, planned_workers: int) -> Overview:
    """Raises redis.RedisError."""
    recent, now_ms = _recent(jobs), server_ms(jobs.client)
    span_ms = _span_ms(recent, now_ms)
    speeds = {
        worker: count * 1000 / span_ms
        for worker, count in Tally(
            job.worker for job in recent if job.worker and job.finished_ms > now_ms - span_ms
        ).items()
    }
    return Overview(
        pause=current_order(jobs.client, keys.PAUSE),
        refusal=current_order(jobs.client, keys.REFUSAL),
        images_per_s=sum(speeds.values()),
        lanes=_lanes(jobs, planned_workers),
        parties=waiting_parties(jobs.client),
        workers=_workers(jobs, speeds),
        stages=_stages(recent),
        recent_failures=dict(Tally(code for job in recent if (code := _failure(job))).most_common()),
        counters=Counters.from_fields(cast(dict[str, str], jobs.client.hgetall(keys.COUNTERS))),
    )


def _span_ms(recent: Sequence[Job], now_ms: int) -> float:
    """RECENT_S, or less if the newest MOST_RECENT jobs do not reach back that far."""
    longest_ms = RECENT_S * 1000
    if len(recent) < MOST_RECENT:
        return longest_ms
    return max(1.0, min(longest_ms, now_ms - min(job.finished_ms for job in recent)))


def waiting_parties(client: redis.Redis) -> list[PartyState]:
    """The parties with waiting jobs, the longest queue first."""
    with client.pipeline(transaction=False) as pipe:
        for lane in Lane:
            pipe.zrange(keys.turns(lane), 0, MOST_PARTIES - 1)
        parties = [(lane, party) for lane, found in zip(Lane, pipe.execute(), strict=True) for party in found]
        for lane, party in parties:
            pipe.smembers(keys.models_asked(lane, party))
        queues = [(*place, model) for place, models in zip(parties, pipe.execute(), strict=True) for model in models]
        for queue in queues:
            pipe.zcard(keys.party_queue(*queue))
        lengths: Tally[tuple[Lane, str]] = Tally()
        for (lane, party, _), length in zip(queues, pipe.execute(), strict=True):
            lengths[lane, party] += length
    return [PartyState(lane, party, length) for (lane, party), length in lengths.most_common() if length]


def _recent(jobs: RedisJobs) -> list[Job]:
    """The jobs that ended last. Their retention is the same, so the one that ends last is the youngest."""
    ids = cast(list[str], jobs.client.zrange(keys.RETAINED, 0, MOST_RECENT - 1, desc=True))
    return [job for job in jobs.get_many(ids) if job]


def _lanes(jobs: RedisJobs, planned_workers: int) -> list[LaneState]:
    state = jobs.queue()
    return [
        LaneState(
            lane,
            state.pending[lane],
            state.running[lane],
            state.oldest_s(lane) or 0.0,
            state.backlog_s(planned_workers, lanes=[lane]),
        )
        for lane in Lane
    ]


def _workers(jobs: RedisJobs, speeds: Mapping[str, float]) -> list[WorkerState]:
    reports = jobs.workers.reports()
    return [
        WorkerState(
            worker,
            reports[worker].loaded if worker in reports else [],
            reports[worker].refused if worker in reports else {},
            speeds.get(worker, 0.0),
            memory,
        )
        for worker, memory in sorted(jobs.workers.memory_bytes().items())
    ]


def _stages(recent: Iterable[Job]) -> list[StageState]:
    timings: dict[str, list[int]] = {}
    for job in recent:
        for stage, ms in (job.outcome.timings_ms if job.outcome else {}).items():
            timings.setdefault(stage, []).append(ms)
    return [StageState(stage, median(found), _p95(found)) for stage, found in timings.items()]


def _p95(values: Sequence[int]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else float(values[0])


def _failure(job: Job) -> str | None:
    """The problem code of a failed job."""
    return str(job.outcome.error["code"]) if job.status is Status.FAILED and job.outcome and job.outcome.error else None
