"""What Redis knows about the whole installation, for Prometheus.

Web processes and the housekeeper each export it, so it stays visible while one of them is down. All report the same
values; a query takes their maximum.
"""

from __future__ import annotations

import json
import math
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from storage import keys
from storage.keys import SEGMENT_QUEUE, Lane
from storage.outlook import QueueState
from storage.queue.counters import Counters
from storage.queue.epoch import in_ms
from storage.queue.jobs import RedisJobs

Rows = Sequence[tuple[str, float]]


class QueueMetrics(Collector):
    """Takes two round trips per scrape, whose cost does not grow with the queue.

    `workers`: the planned number, for the backlog while none is live.
    """

    def __init__(self, jobs: RedisJobs, workers: int) -> None:
        self._jobs, self._planned = jobs, workers

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        """Without Redis, reports only that it is down: one part's outage must not hide the others."""
        try:
            state, (counters, time, workers, engines, tickets, outbox, oldest, swept, memory) = (
                self._jobs.queue(), self._read(),
            )  # fmt: skip
        except redis.RedisError:
            yield gauge("segue_redis_up", "Whether Redis answers", 0)
            return
        now_ms = in_ms(time)
        yield gauge("segue_redis_up", "Whether Redis answers", 1)
        yield gauge("segue_redis_memory_bytes", "Memory of Redis", memory["used_memory"])
        yield gauge("segue_redis_memory_limit_bytes", "Limit of that memory; 0: none", memory.get("maxmemory", 0))
        yield gauge("segue_tickets", "Celery messages that wait for a worker", tickets)
        yield gauge("segue_outbox_jobs", "Changes not yet written to SQL", outbox)
        yield gauge("segue_outbox_age_seconds", "Age of the oldest of them", _age_s(now_ms, oldest))
        sweep_age_s = (now_ms - int(swept)) / 1000 if swept else math.inf
        yield gauge("segue_sweep_age_seconds", "Age of the last sweep that Redis remembers; +Inf: none", sweep_age_s)
        yield from self._lanes(state)
        yield from _workers(workers, engines, now_ms)
        yield from _transitions(Counters.from_fields(counters))

    def _read(self) -> list[Any]:
        with self._jobs.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.COUNTERS)
            pipe.time()
            pipe.zrange(keys.WORKERS, 0, -1, withscores=True)
            pipe.hgetall(keys.ENGINES)
            pipe.llen(SEGMENT_QUEUE)
            pipe.zcard(keys.UNRECORDED)
            pipe.zrange(keys.UNRECORDED, 0, 0, withscores=True)
            pipe.get(keys.CLOCK)
            pipe.info("memory")
            return pipe.execute()

    def _lanes(self, state: QueueState) -> Iterator[Metric]:
        pending = GaugeMetricFamily("segue_jobs_pending", "Waiting jobs", labels=["lane"])
        running = GaugeMetricFamily("segue_jobs_running", "Leased jobs", labels=["lane"])
        oldest = GaugeMetricFamily("segue_oldest_pending_seconds", "Age of the oldest waiting job", labels=["lane"])
        backlog = GaugeMetricFamily("segue_backlog_seconds", "Seconds of work in the queue", labels=["lane"])
        for lane in Lane:
            pending.add_metric([lane], state.pending[lane])
            running.add_metric([lane], state.running[lane])
            oldest.add_metric([lane], state.oldest_s(lane) or 0.0)
            seconds = state.backlog_s(self._planned, lanes=[lane])
            if seconds is not None:  # unknown before the first image
                backlog.add_metric([lane], seconds)
        yield from (pending, running, oldest, backlog)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _age_s(now_ms: int, oldest: Rows) -> float:
    return max(0.0, (now_ms - oldest[0][1]) / 1000) if oldest else 0.0


def _workers(workers: Rows, engines: dict[str, str], now_ms: int) -> Iterator[Metric]:
    live = {worker for worker, expiry in workers if expiry > now_ms}
    loaded = Tally(model for worker in live & engines.keys() for model in json.loads(engines[worker])["loaded"])
    yield gauge("segue_workers", "Live workers", len(live))
    models = GaugeMetricFamily(
        "segue_workers_with_model", "Live workers that have loaded the version", labels=["model"]
    )
    for model, count in sorted(loaded.items()):
        models.add_metric([model], count)
    yield models


def _transitions(counters: Counters) -> Iterator[Metric]:
    sources = {"upload": counters.accepted, "adoption": counters.adopted, "result": counters.restored}
    yield _by("segue_jobs_accepted", "Jobs new to Redis, by where they came from", "source", sources)
    yield _by("segue_jobs_ended", "Ended jobs", "status", counters.ended)
    yield _by("segue_jobs_failed", "Failed jobs, by problem code", "code", counters.failed)
    for name, text in (
        ("retried", "Ended jobs that a request queued again"),
        ("requeued", "Open jobs that the reconciler found neither waiting nor leased"),
    ):
        yield CounterMetricFamily(f"segue_jobs_{name}", text, value=getattr(counters, name))
    yield CounterMetricFamily("segue_attempts", "Attempts at jobs that workers began", value=counters.attempts)
    yield CounterMetricFamily("segue_attempts_released", "Attempts put back, without a loss", value=counters.released)
    yield CounterMetricFamily("segue_leases_lost", "Attempts whose lease expired", value=counters.leases_lost)


def _by(name: str, text: str, label: str, counts: Any) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
