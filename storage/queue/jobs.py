"""All jobs in Redis: their records, the pending set, the leases.

Every transition is one Lua script (storage/queue/lua/), so it happens whole and has one winner:

    enqueue: → queued      claim: queued → running      finish: running → succeeded | failed | canceled | expired
    release, and the sweep of a lost lease: running → queued
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any, cast

import redis
from redis.client import PubSub
from redis.exceptions import LockError, NoScriptError

from storage import keys
from storage.batch import BatchSpec
from storage.job import Finished, Job, Outcome, Outlook, Pace, QueueState, Spec, Status, Swept
from storage.keys import SEGMENT_QUEUE, Lane
from storage.models import EVERYTHING, EnginesReport, Offer
from storage.queue.binding import BINDING_MS, Binding
from storage.queue.outbox import Outbox
from storage.queue.server_run import ServerRun
from storage.settings import Settings

DRAINER_MS = 5_000
LOSSES_ALONE_MAKE_POISON = 3
IDEMPOTENCY_TTL_MS = 24 * 3600 * 1000
IDEMPOTENCY_BUSY_MS = 30_000
REPORTED_MS = 20_000
PAGE = 500  # ids a script call: Redis does nothing else meanwhile
TOMBSTONE_MS = 30 * 24 * 3600 * 1000
SCRIPTS = (
    "enqueue", "claim", "extend", "finish", "release", "cancel", "sweep", "tickets", "reindex", "restore", "reserve",
    "retry", "outlook", "condemn", "bury", "bind",
)  # fmt: skip


def _script(name: str) -> str:
    """A script with the prelude after its first line.

    That line says whether it runs on a full Redis (allow-oom): draining must go on, accepting must not.
    """
    folder = files("storage.queue") / "lua"
    first, rest = (folder / f"{name}.lua").read_text().split("\n", 1)
    return "\n".join((first, (folder / "prelude.lua").read_text(), rest))


class RedisJobs:
    """The pending set and the records. Raises redis.RedisError when Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings, server_run: ServerRun) -> None:
        self.client, self._server_run = client, server_run
        self._settings = settings
        self._scripts = {name: client.register_script(_script(name)) for name in SCRIPTS}
        self.outbox = Outbox(client, _script("recorded"))

    def _run(self, name: str, *args: str | int | float) -> Any:
        return self._scripts[name](args=list(args))

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)

    def _now_ms(self) -> int:
        """By Redis' own clock, like every time in it."""
        seconds, micros = self.client.time()
        return int(seconds * 1000 + micros // 1000)

    def enqueue(self, spec: Spec, again: bool = False) -> int:
        """Put the job of a durable upload in line; a known job stays as it is. → how many tickets are missing.

        `again`: it may have been attempted before.
        """
        fields = [str(part) for pair in asdict(spec).items() for part in pair]
        _, missing = self._run(
            "enqueue", spec.id, spec.deadline_ms, self._settings.micro_batch, IDEMPOTENCY_TTL_MS, int(again),
            *fields, "pixels", spec.pixels,
        )  # fmt: skip
        return int(missing)

    def get(self, job_id: str) -> Job | None:
        fields = cast(dict[str, str], self.client.hgetall(keys.job(job_id)))
        return Job.from_fields(fields) if fields else None

    def look(self, job_id: str) -> tuple[Job | None, bool]:
        """The record with its outlook while it has not ended, and whether this Redis is `intact`. One round trip."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.get(keys.EPOCH)
            pipe.evalsha(self._scripts["outlook"].sha, 0, job_id, self._settings.micro_batch)
            try:
                fields, epoch, row = pipe.execute()
            except NoScriptError:  # a Redis that was started anew: this call gives it the script
                self.outlook(job_id)
                return self.look(job_id)
        job = Job.from_fields(fields) if fields else None
        if job and not job.status.final:
            job = replace(job, outlook=self._outlook(row))
        return job, bool(epoch == self.run_id())

    def claim(self, token: str, drainer: str, worker: str, offer: Offer = EVERYTHING) -> list[Job]:
        """Lease the next micro-batch to `token`; the same token gets the same jobs. Empty: the drainer is gone.

        All of one model version, as `offer` resolves their aliases, and none that it refuses; none either while this
        Redis is not `intact`.
        """
        limits = self._settings
        records = self._run(
            "claim", token, drainer, worker, limits.micro_batch, limits.micro_batch_pixels,
            limits.micro_batch_bytes, self._lease_ms, DRAINER_MS, offer.to_json(),
            self.run_id(),
        )  # fmt: skip
        return [Job.from_fields(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in records]

    def extend(self, token: str, drainer: str, worker: str, job_ids: Sequence[str]) -> list[str]:
        """Renew the leases after progress. → for each id "held", "canceled" or "lost"."""
        return list(self._run("extend", token, drainer, worker, self._lease_ms, DRAINER_MS, *job_ids))

    def finish(self, token: str, worker: str, busy_ms: int, finished: Sequence[Finished]) -> list[str]:
        """End the jobs whose results are stored. → for each "won", "lost", "superseded" or "unknown".

        A repetition answers the same. Lost: it ended otherwise, and this result is nobody's. Superseded: it is open and
        somebody else's, who may take this result. Unknown: this Redis is not `intact`; who looks through
        it finds the result object.

        `busy_ms`: wall time this micro-batch took of the worker, 0 where no worker was at it.
        """
        rows = [part for f in finished for part in (f.job_id, f.outcome.status, f.result_key, f.outcome.to_json())]
        answers = self._run(
            "finish", token, worker, busy_ms, self._settings.retention_s * 1000, self._settings.micro_batch,
            self.run_id(), *rows,
        )  # fmt: skip
        return list(answers)

    def release(self, token: str, job_ids: Sequence[str]) -> int:
        """Give leased jobs back unharmed. → how many were still held."""
        return int(self._run("release", token, *job_ids)) if job_ids else 0

    def cancel(self, job_id: str, token: str) -> str:
        """→ "leased" (the caller writes the result and finishes), "marked", a terminal status, or "unknown"."""
        return str(self._run("cancel", job_id, token, self._lease_ms))

    def cancel_soon(self, job_ids: Iterable[str]) -> None:
        """Cancel many, their results left to others: a waiting one goes to the sweeper, as a lease just run out."""
        for job_id in job_ids:
            self._run("cancel", job_id, "", 0)

    def condemn(self, job_id: str) -> str:
        """Begin to erase it. → "running" (nothing was done), "unknown", or the status it had."""
        return str(self._run("condemn", job_id))

    def bury(self, job_id: str, tenant: str) -> None:
        """End erasing it, after its objects: its record goes, `gone` remembers it for a while."""
        self._run("bury", job_id, tenant, TOMBSTONE_MS)

    def gone(self, job_id: str) -> str | None:
        """The tenant of an erased job."""
        return cast(str | None, self.client.get(keys.gone(job_id)))

    def gone_among(self, job_ids: Sequence[str]) -> list[str]:
        """Those that were erased."""
        if not job_ids:
            return []
        tenants = cast(list[str | None], self.client.mget([keys.gone(job_id) for job_id in job_ids]))
        return [job_id for job_id, tenant in zip(job_ids, tenants, strict=True) if tenant]

    def due(self, at_most: int = 500) -> list[str]:
        """Ended jobs that are not to be kept any longer."""
        now_ms = self._now_ms()
        ids = self.client.zrange(keys.RETAINED, "-inf", now_ms, byscore=True, offset=0, num=at_most)
        return cast(list[str], ids)

    def retained_ids(self) -> Iterator[list[str]]:
        """Every ended job that is kept, in portions."""
        yield from self._members(keys.RETAINED)

    def not_due(self, job_ids: Sequence[str]) -> None:
        self.client.zrem(keys.RETAINED, *job_ids)

    def retry(self, job_id: str, deadline_ms: int) -> bool:
        """Another attempt for a job that ended without a mask. → whether it had"""
        return bool(self._run("retry", job_id, deadline_ms))

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """One round trip."""
        return self.look_many(job_ids)[0]

    def look_many(self, job_ids: Sequence[str]) -> tuple[list[Job | None], bool]:
        """The records, without outlooks, and whether this Redis is `intact`. One round trip."""
        with self.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(keys.job(job_id))
            pipe.get(keys.EPOCH)
            *rows, epoch = pipe.execute()
        return [Job.from_fields(fields) if fields else None for fields in rows], bool(epoch == self.run_id())

    def sweep(self, token: str, at_most: int = 1000) -> Swept:
        """Put lost leases back in line and lease to `token` what has to be ended."""
        back, ending = self._run("sweep", token, self._lease_ms, at_most, LOSSES_ALONE_MAKE_POISON)
        return Swept(list(back), [(job_id, verdict) for job_id, verdict in ending])

    def tickets_missing(self, leaving_drainer: str = "") -> int:
        return int(self._run("tickets", leaving_drainer, self._settings.micro_batch))

    def reindex(self, job_ids: Sequence[str]) -> list[str]:
        """Put open jobs back in line that are neither waiting nor leased. → their ids."""
        pages = (job_ids[start : start + PAGE] for start in range(0, len(job_ids), PAGE))
        return [job_id for page in pages for job_id in self._run("reindex", *page)]

    def restore(self, spec: Spec, outcome: Outcome, result_key: str, finished_ms: int) -> bool:
        """The record of an ended job as its objects tell it. → False where it has ended already."""
        fields = {
            **asdict(spec), "pixels": spec.pixels, "finished_ms": finished_ms, "result_key": result_key,
            "outcome": outcome.to_json(),
        }  # fmt: skip
        flat = [str(part) for pair in fields.items() for part in pair]
        retention_ms = self._settings.retention_s * 1000
        return bool(self._run("restore", spec.id, outcome.status, retention_ms, IDEMPOTENCY_TTL_MS, *flat))

    def reserve(self, spec: Spec | BatchSpec) -> tuple[str, str]:
        """Bind the spec's idempotency key to its id, unless it has one. → state and the key's job or batch id.

        "reserved": go on under that id; "done": it was accepted before; "busy": another request is at it; "reused":
        the key came with another request; "recovering": keys were lost and are being read from the object store.
        """
        state, job_id = self._run(
            "reserve", spec.tenant, spec.key_hash, spec.fingerprint, spec.id, IDEMPOTENCY_BUSY_MS, IDEMPOTENCY_TTL_MS,
            self.run_id(), "batch" if keys.is_batch_id(spec.id) else "job",
        )  # fmt: skip
        return str(state), str(job_id)

    def bind(self, spec: Spec) -> Binding:
        return Binding(self._run("bind", spec.id, spec.sha256, BINDING_MS, self.run_id()))

    def remember_key(self, spec: BatchSpec) -> None:
        """A repetition of the request finds this batch."""
        key = keys.idempotency(spec.tenant, spec.key_hash)
        with self.client.pipeline() as pipe:
            pipe.hset(key, mapping={"id": spec.id, "fingerprint": spec.fingerprint, "busy_until": "0"})
            pipe.pexpire(key, IDEMPOTENCY_TTL_MS)
            pipe.execute()

    def unreserve(self, spec: Spec | BatchSpec) -> None:
        """The request failed: its repetition may go on under the same id at once."""
        if spec.key_hash:
            self.client.hset(keys.idempotency(spec.tenant, spec.key_hash), "busy_until", "0")

    def events(self) -> PubSub:
        """A subscription to every change of every job: messages "job id, new status, batch id or nothing"."""
        channel: PubSub = self.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        channel.subscribe(keys.EVENTS)
        return channel

    def beat(self, worker: str, alive_ms: int) -> tuple[int, int]:
        """Show that the worker lives, for `alive_ms`. → (tickets waiting, ms since its child last made progress)."""
        now_ms = self._now_ms()
        with self.client.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.WORKERS, {worker: now_ms + alive_ms})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", now_ms)
            pipe.llen(SEGMENT_QUEUE)
            pipe.zscore(keys.PROGRESS, worker)
            *_, tickets, progress_ms = pipe.execute()
        return tickets, now_ms - int(progress_ms or 0)

    def report(self, worker: str, told: EnginesReport, refusing: Iterable[str], usable: Iterable[str]) -> None:
        """Tell what the worker has loaded, which aliases and versions it cannot use now, and which it can again.

        What it cannot use is forgotten after `REPORTED_MS`, unless it is told again.
        """
        now_ms = self._now_ms()
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hset(keys.ENGINES, worker, json.dumps(asdict(told)))
            for name in refusing:
                pipe.zadd(keys.refusing(name), {worker: now_ms + REPORTED_MS})
                pipe.pexpire(keys.refusing(name), REPORTED_MS)
            for name in usable:
                pipe.zrem(keys.refusing(name), worker)
            pipe.execute()

    def reports(self) -> dict[str, EnginesReport]:
        """What each live worker told last."""
        now_ms = self._now_ms()
        with self.client.pipeline(transaction=False) as pipe:
            pipe.zrangebyscore(keys.WORKERS, now_ms, "+inf")
            pipe.hgetall(keys.ENGINES)
            live, told = pipe.execute()
        gone = set(told) - set(live)
        if gone:
            self.client.hdel(keys.ENGINES, *gone)
        return {worker: EnginesReport(**json.loads(told[worker])) for worker in live if worker in told}

    def open_ids(self) -> Iterator[list[str]]:
        """Every job that has not ended, in portions."""
        yield from self._members(keys.OPEN)

    def unfinished_ids(self) -> set[str]:
        """The same, and what waits or is leased although the list of open jobs was lost."""
        every = (keys.OPEN, *map(keys.lane, Lane), *map(keys.leases, Lane))
        return {job_id for key in every for page in self._members(key) for job_id in page}

    def _members(self, key: str) -> Iterator[list[str]]:
        cursor = 0
        while True:
            cursor, page = cast(tuple[int, list[tuple[str, float]]], self.client.zscan(key, cursor, count=PAGE))
            yield [job_id for job_id, _ in page]
            if not cursor:
                return

    def strays(self) -> list[str]:
        """Open jobs that neither wait nor are leased; `reindex` puts them back."""
        found = []
        for page in self.open_ids():
            jobs = [job for job in self.get_many(page) if job and not job.status.final]
            with self.client.pipeline(transaction=False) as pipe:
                for job in jobs:
                    lane = keys.lane if job.status is Status.QUEUED else keys.leases
                    pipe.zscore(lane(job.spec.lane), job.id)
                found += [job.id for job, score in zip(jobs, pipe.execute(), strict=True) if score is None]
        return found

    def without_record(self, job_ids: Sequence[str]) -> list[str]:
        with self.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.exists(keys.job(job_id))
            return [job_id for job_id, there in zip(job_ids, pipe.execute(), strict=True) if not there]

    @contextmanager
    def alone(self, name: str, at_most_s: float) -> Iterator[bool]:
        """Whether nobody else is in the block of this name; held for `at_most_s` in case its holder dies."""
        lock = self.client.lock(f"{keys.PREFIX}lock:{name}", timeout=at_most_s)
        chosen = lock.acquire(blocking=False)
        try:
            yield chosen
        finally:
            with suppress(LockError):  # it ran out, or went with the rest of Redis
                if chosen:
                    lock.release()

    def intact(self, what: str = keys.EPOCH) -> bool:
        """False when this Redis may have lost something: it was started anew, or its keys were deleted.

        `what`: KEYED for idempotency keys, which come back after everything else.
        """
        return bool(self.client.get(what) == self.run_id())

    def state_age_s(self) -> float | None:
        """How old what Redis remembers is at most: seconds since the last sweep. None where it remembers none."""
        at = cast(str | None, self.client.get(keys.CLOCK))
        return max(0.0, (self._now_ms() - int(at)) / 1000) if at else None

    def mark_intact(self, run_id: str = "", what: Sequence[str] = (keys.EPOCH, keys.KEYED)) -> None:
        """`run_id`: as of that run of the server; if another has begun since, nothing is `intact` by this."""
        for name in what:
            self.client.set(name, run_id or self.run_id())

    def run_id(self) -> str:
        return self._server_run.id(self.client)

    def outlook(self, job_id: str) -> Outlook:
        """When a waiting job will be done, as far as can be told. One round trip, the same cost at any length."""
        return self._outlook(self._run("outlook", job_id, self._settings.micro_batch))

    def _outlook(self, row: Sequence[Any]) -> Outlook:
        position, running, workers, refusing, ms, deviation, best = row
        return Outlook(
            position=position if position >= 0 else None,
            running=running,
            workers=workers,
            refusing=refusing,
            pace=Pace(float(ms), float(deviation), float(best)) if ms else None,
            micro_batch=self._settings.micro_batch,
        )

    def queue(self) -> QueueState:
        """One round trip, the same cost at any length."""
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
