"""Read-only access to jobs and the queue: state, estimates, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import redis
from redis.client import PubSub

from storage import keys
from storage.job import Job, Status
from storage.keys import Lane
from storage.outlook import Inflow, Outlook, Pace, QueueState
from storage.queue.epoch import Epoch
from storage.queue.functions import Functions
from storage.queue.job_ids import JobIds


@dataclass(frozen=True)
class Usage:
    """A party's stored jobs, and the total bytes of their uploads as sent."""

    jobs: int
    bytes: int


class JobReader:
    """Changes nothing.

    Raises redis.RedisError if Redis does not answer.
    """

    def __init__(self, client: redis.Redis, functions: Functions, epoch: Epoch, micro_batch: int) -> None:
        self.client, self.epoch, self.ids = client, epoch, JobIds(client)
        self._functions, self._micro_batch = functions, micro_batch

    def get(self, job_id: str) -> Job | None:
        fields = cast(dict[str, str], self.client.hgetall(keys.job(job_id)))
        return Job.from_fields(fields) if fields else None

    def look(self, job_id: str) -> tuple[Job | None, bool]:
        """The job, with its outlook if it is open, and whether Redis is `intact`.

        Takes one round trip.
        """
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.get(keys.EPOCH)
            pipe.fcall(self._functions.name("outlook"), 0, job_id, self._micro_batch)
            fields, epoch, row = pipe.execute()
        job = Job.from_fields(fields) if fields else None
        if job and not job.status.final:
            job = replace(job, outlook=self._outlook(row))
        return job, bool(epoch == self.epoch.run_id())

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs in the order of `job_ids`; None for unknown ones. Takes one round trip."""
        return self.look_many(job_ids)[0]

    def look_many(self, job_ids: Sequence[str]) -> tuple[list[Job | None], bool]:
        """The jobs, without outlooks, and whether Redis is `intact`. Takes one round trip."""
        with self.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(keys.job(job_id))
            pipe.get(keys.EPOCH)
            *rows, epoch = pipe.execute()
        return [Job.from_fields(fields) if fields else None for fields in rows], bool(epoch == self.epoch.run_id())

    def strays(self) -> list[str]:
        """Open jobs that are neither waiting nor leased; `reindex` requeues them."""
        found = []
        for page in self.ids.open():
            jobs = [job for job in self.get_many(page) if job and not job.status.final]
            with self.client.pipeline(transaction=False) as pipe:
                for job in jobs:
                    lane = keys.lane if job.status is Status.QUEUED else keys.leases
                    pipe.zscore(lane(job.spec.lane), job.id)
                found += [job.id for job, score in zip(jobs, pipe.execute(), strict=True) if score is None]
        return found

    def events(self) -> PubSub:
        """Subscribe to the changes of all jobs.

        A message is "job_id status batch_id"; the last may be empty.
        """
        channel: PubSub = self.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        channel.subscribe(keys.EVENTS)
        return channel

    def usage(self, party: str) -> Usage:
        """`party`: a job's party, or its tenant if it names none."""
        jobs, size = cast(list[str | None], self.client.hmget(keys.usage(party), "jobs", "bytes"))
        return Usage(int(jobs or 0), int(size or 0))

    def rejected(self) -> int:
        """How many foreign messages were rejected from Celery's queues."""
        return sum(int(count) for count in cast(dict[str, str], self.client.hgetall(keys.REJECTED)).values())

    def outlook(self, job_id: str) -> Outlook:
        """The estimate for an open job.

        Takes one round trip; the cost does not grow with the queue.
        """
        return self._outlook(self._functions("outlook", job_id, self._micro_batch))

    def _outlook(self, row: Sequence[Any]) -> Outlook:
        position, running, workers, refusing, pixels, burst, since_ms, pause, *pace = row
        return Outlook(
            position=position if position >= 0 else None,
            running=running,
            workers=workers,
            refusing=refusing,
            pace=Pace(*map(float, pace)) if pace else None,
            micro_batch=self._micro_batch,
            megapixels=float(pixels) / 1e6,
            inflow=Inflow(burst * 1000 / since_ms, since_ms / 1000) if since_ms else Inflow(),
            pause_reason=pause,
        )

    def queue(self) -> QueueState:
        """A snapshot of the queue. Takes one round trip; the cost does not grow with the queue."""
        with self.client.pipeline(transaction=False) as pipe:
            for lane in Lane:
                pipe.zcard(keys.lane(lane))
                pipe.zcard(keys.leases(lane))
                pipe.zrange(keys.lane(lane), 0, 0, withscores=True)
            pipe.time()
            pipe.zrange(keys.WORKERS, 0, -1, withscores=True)
            pipe.hmget(keys.RATE, "ms_per_image", "micro_batch")
            *lanes, (seconds, _), workers, rate = pipe.execute()
        rows = {lane: lanes[3 * i : 3 * i + 3] for i, lane in enumerate(Lane)}
        return QueueState(
            pending={lane: row[0] for lane, row in rows.items()},
            running={lane: row[1] for lane, row in rows.items()},
            oldest_created_ms={lane: int(row[2][0][1]) if row[2] else None for lane, row in rows.items()},
            workers=sum(expiry > seconds * 1000 for _, expiry in workers),
            ms_per_image=float(rate[0]) if rate[0] else None,
            micro_batch=float(rate[1]) if rate[1] else None,
        )
