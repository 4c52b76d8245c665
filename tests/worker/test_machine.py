"""A state machine test of jobs: submits, claims, zombies, cancels, retries, erasures, crashes, losses.

Hypothesis chooses the order. The invariants: a final status that a client has seen never changes;
a succeeded job has its mask; one idempotency key makes one job. At the end, after all repairs, every
accepted job has ended and no queue holds a job.
"""

from dataclasses import dataclass, replace

import pictures
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from specs import mask_of, spec

from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import Finished, Job, Status
from storage.keys import Lane
from storage.objects import RESULTS, UPLOADS
from storage.recovery import find
from worker.housekeeping import sweeps as housekeeping

PICK = st.integers(0, 1_000_000)
KEYS = ("", "", "a", "b")
ACTS = ("submit", "work", "work", "look", "cancel", "erase")
CRASHES = ("", "", "", "upload", "ticket")


@dataclass
class Claim:
    token: str
    jobs: list[Job]


class Jobs(RuleBasedStateMachine):
    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage, self.objects, self.jobs = storage, storage.objects, storage.jobs
        self.jobs.client.flushall()
        self.jobs.epoch.mark_intact()
        for bucket in (UPLOADS, RESULTS):
            for listed in self.objects.listing(bucket, ""):
                self.objects.remove(bucket, listed.key)
        self.accepted: list[str] = []
        self.erased: set[str] = set()
        self.by_key: dict[str, str] = {}
        self.seen: dict[str, tuple[Status, str]] = {}  # the end that a client has seen
        self.claims: list[Claim] = []
        self.raw = redis.Redis.from_url(storage.settings.redis_url)

    # What clients do.

    @rule(key=st.sampled_from(KEYS), lane=st.sampled_from(Lane), crash=st.sampled_from(CRASHES))
    def submit(self, key: str, lane: Lane, crash: str) -> None:
        made = spec(lane=lane, key_hash=key, fingerprint=key)
        if key:
            state, job_id = self.jobs.idempotency.reserve(made)
            if state in ("recovering", "busy"):
                return
            made = replace(made, id=job_id)
            if state == "done":
                assert self.by_key[key] == job_id, "one key made two jobs"
                return
            assert self.by_key.get(key, job_id) == job_id or self.by_key[key] in self.erased, "one key made two jobs"
        self.objects.put_upload(made, pictures.jpeg())
        if key:
            self.by_key[key] = made.id
        self.accepted.append(made.id)  # durable from here on, even if the response is lost
        if crash == "upload":
            return
        missing = self.jobs.enqueue(made)
        if not crash:
            self.storage.tickets.send(missing)

    @rule(pick=PICK)
    def look(self, pick: int) -> None:
        if self.accepted:
            self._get_and_compare(self.accepted[pick % len(self.accepted)])

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        if job := self._some(pick):
            lifecycle.cancel(self.objects, self.jobs, job)
            self._get_and_compare(job.id)

    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        if (
            (job := self._some(pick))
            and self.jobs.epoch.intact()
            and lifecycle.retry(self.objects, self.jobs, job, 3600)
        ):
            self.seen.pop(job.id, None)

    @rule(pick=PICK)
    def erase(self, pick: int) -> None:
        if (job := self._some(pick)) and lifecycle.erase(self.objects, self.jobs, "local", job.id):
            self.erased.add(job.id)
            self.seen.pop(job.id, None)

    # What workers do.

    @rule(repeat=st.booleans())
    def claim(self, repeat: bool) -> None:
        token = keys.new_token()
        jobs = self.jobs.claim(token, "drainer", "worker")
        if repeat:  # the first response was lost
            assert [job.id for job in self.jobs.claim(token, "drainer", "worker")] == [job.id for job in jobs]
        if jobs:
            self.claims.append(Claim(token, jobs))

    @rule(pick=PICK, share=st.integers(1, 16), crash=st.booleans(), repeat=st.booleans())
    def finish(self, pick: int, share: int, crash: bool, repeat: bool) -> None:
        """Finish a claim: maybe with a lost lease, or crash after the results are stored."""
        if not self.claims:
            return
        claim = self.claims[pick % len(self.claims)]
        finished = [self._store(job, claim.token) for job in claim.jobs[:share]]
        del claim.jobs[:share]
        if not claim.jobs:
            self.claims.remove(claim)
        if crash:
            return
        answers = self.jobs.finish(claim.token, "worker", 5, finished)
        if repeat:
            assert self.jobs.finish(claim.token, "worker", 5, finished) == answers
        for answer, one in zip(answers, finished, strict=True):
            if answer == "lost":
                self.objects.remove(RESULTS, one.result_key)

    @rule()
    def work(self) -> None:
        """A worker processes a claim without a fault, and then a client asks for the jobs."""
        jobs = self.jobs.claim(token := keys.new_token(), "drainer", "worker")
        if jobs:
            self.jobs.finish(token, "worker", 5, [self._store(job, token) for job in jobs])
        for job in jobs:
            self._get_and_compare(job.id)

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        if self.claims:
            claim = self.claims.pop(pick % len(self.claims))
            self.jobs.release(claim.token, [job.id for job in claim.jobs])

    @rule(pick=PICK)
    def extend(self, pick: int) -> None:
        if self.claims:
            claim = self.claims[pick % len(self.claims)]
            self.jobs.extend(claim.token, "drainer", "worker", [job.id for job in claim.jobs])

    # What time and faults do.

    @rule()
    def leases_run_out(self) -> None:
        for lane in Lane:
            for job_id in self.jobs.client.zrange(keys.leases(lane), 0, -1):
                self.jobs.client.zadd(keys.leases(lane), {job_id: 1})

    @rule(pick=PICK)
    def deadline_passes(self, pick: int) -> None:
        ids = self.jobs.client.zrange(keys.OPEN, 0, -1)
        if ids:
            job_id = ids[pick % len(ids)]
            if self.jobs.get(job_id):
                self.jobs.client.hset(keys.job(job_id), "deadline_ms", 1)
                self.jobs.client.zadd(keys.OPEN, {job_id: 1})

    @rule(what=st.sampled_from(["everything", "pending", "leases", "turns", "open", "segment"]))
    def redis_loses(self, what: str) -> None:
        if what == "everything":
            self.jobs.client.flushall()
            return
        pattern = "segment" if what == "segment" else f"segue:{what}*"
        for key in self.jobs.client.scan_iter(pattern):
            self.jobs.client.delete(key)
        if what == "open":  # only a full adoption finds the jobs then
            self.jobs.client.delete(keys.EPOCH)

    @rule(acts=st.lists(st.tuples(st.sampled_from(ACTS), PICK), min_size=1, max_size=6))
    def redis_falls_back(self, acts: list[tuple[str, int]]) -> None:
        """Redis falls back to its state before the acts, as after a restart from an older file."""
        snapshot = {key: self.raw.dump(key) for key in self.raw.scan_iter("segue:*")}
        for name, pick in acts:
            if name == "submit":
                self.submit("", Lane.BULK, "")
            elif name == "work":
                self.work()
            else:
                getattr(self, name)(pick)
        self.raw.flushall()
        for key, value in snapshot.items():
            self.raw.restore(key, 0, value)
        self.raw.mset(dict.fromkeys((keys.EPOCH, keys.KEYED), "another run"))

    # What the housekeeper does.

    @rule()
    def sweep(self) -> None:
        if housekeeping.adopt_after_loss(self.storage):
            housekeeping.sweep(self.storage)

    @rule()
    def reconcile(self) -> None:
        if self.jobs.epoch.intact():
            housekeeping.reconcile(self.storage)

    @rule()
    def adopt(self) -> None:
        housekeeping.adopt(self.storage, housekeeping.NARROW, older_than_s=0)

    # What must hold.

    @invariant()
    def no_more_records_than_jobs(self) -> None:
        assert self.jobs.client.zcard(keys.OPEN) <= len(self.accepted)

    def teardown(self) -> None:
        """After all repairs, every accepted job must end, as a client may have seen it before."""
        housekeeping.adopt_after_loss(self.storage)
        for _ in range(12):
            housekeeping.adopt(self.storage, housekeeping.NARROW, older_than_s=0)
            self.leases_run_out()
            housekeeping.sweep(self.storage)
            housekeeping.reconcile(self.storage)
            while jobs := self.jobs.claim(token := keys.new_token(), "drainer", "worker"):
                self.jobs.finish(token, "worker", 1, [self._store(job, token) for job in jobs])
        for job_id in self.accepted:
            job = self._get_and_compare(job_id)
            assert job is None or job.status.final, f"{job_id} is still {job.status}"
        left = [key for lane in Lane for key in (keys.lane(lane), keys.leases(lane)) if self.jobs.client.exists(key)]
        assert not left
        assert not self.jobs.client.zcard(keys.OPEN)
        self.raw.close()

    def _some(self, pick: int) -> Job | None:
        known = [job_id for job_id in self.accepted if job_id not in self.erased]
        return find(self.objects, self.jobs, "local", known[pick % len(known)]) if known else None

    def _store(self, job: Job, token: str) -> Finished:
        outcome, mask = mask_of({"width": job.spec.width, "by": token})
        if job.again:
            return Finished(job.id, *self.objects.put_result_after_others(job.spec, token, outcome, mask))
        return Finished(job.id, self.objects.put_result(job.spec, token, outcome, mask), outcome)

    def _get_and_compare(self, job_id: str) -> Job | None:
        """Return what a GET finds, after comparing it with what earlier GETs found."""
        job = find(self.objects, self.jobs, "local", job_id)
        if job_id in self.erased:
            back = job is not None and job.status.final and self.objects.results("local", job_id)
            assert not back, "an erased job was restored with its mask"
            return None
        assert job is not None, f"{job_id} was accepted and is unknown"
        if job.status.final:
            now = (job.status, job.result_key)
            assert self.seen.setdefault(job_id, now) == now, f"{job_id} ended as {self.seen[job_id]} and is {now}"
        else:
            assert job_id not in self.seen, f"{job_id} had ended as {self.seen[job_id]} and is {job.status}"
        if job.status is Status.SUCCEEDED:
            assert self.objects.outcome(job.result_key) == job.outcome, "succeeded without its mask"
        return job


def test_jobs_against_everything_at_once(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "WIDE", housekeeping.NARROW)  # a week has 168 hours to list
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Jobs(own_store),
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, derandomize=True,
            phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
