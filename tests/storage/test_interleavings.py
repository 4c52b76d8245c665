"""No interleaving of submits and drainers strands a job."""

import random
from collections.abc import Iterator
from uuid import uuid4

from specs import spec

from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Status
from storage.keys import SEGMENT_QUEUE
from storage.queue.jobs import RedisJobs

DONE = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 64}, {"infer": 3})


class Interleaved:
    """Advances submitters and drainers one Redis call at a time, in random order.

    Tickets are real list entries.

    `forgetful` breaks the rule under test: the empty claim and the drainer's removal become two calls.
    """

    def __init__(self, jobs: RedisJobs, seed: int, forgetful: bool) -> None:
        self.jobs, self.rng, self.forgetful = jobs, random.Random(seed), forgetful

    def submitter(self) -> Iterator[None]:
        missing = self.jobs.enqueue(spec())
        yield
        for _ in range(missing):
            self.jobs.client.rpush(SEGMENT_QUEUE, "ticket")

    def drainer(self) -> Iterator[None]:
        if not self.jobs.client.lpop(SEGMENT_QUEUE):
            return
        name = uuid4().hex
        held: list[tuple[str, list[Job]]] = []
        while True:
            token = uuid4().hex
            claimed = self.jobs.claim(token, name, "w")
            if self.forgetful and not claimed:
                self.jobs.client.zadd("segue:drainers", {name: 9e15})
            yield
            if claimed:
                held.append((token, claimed))
            if not held:
                break
            token, batch = held.pop(0)
            self.jobs.extend(token, name, "w", [job.id for job in batch])
            yield
            self.jobs.finish(token, "w", 1, [Finished(job.id, "k", DONE) for job in batch])
            if not claimed:
                break
        if self.forgetful:
            yield
            self.jobs.client.zrem("segue:drainers", name)

    def run(self) -> int:
        """Run all actors to their end. Returns the number of jobs that are still pending."""
        actors = [self.submitter(), self.submitter(), self.drainer()]
        while actors:
            actor = self.rng.choice(actors)
            if next(actor, actor) is actor:
                actors.remove(actor)
        while self.jobs.client.llen(SEGMENT_QUEUE):
            for _ in self.drainer():
                pass
        return sum(self.jobs.queue().pending.values())


def test_no_job_is_stranded_when_submits_meet_leaving_drainers(connection: Storage) -> None:
    stranded = sum(Interleaved(connection.jobs, seed, forgetful=False).run() for seed in range(10_000))
    assert stranded == 0


def test_that_test_would_see_a_stranded_job(connection: Storage) -> None:
    assert any(Interleaved(connection.jobs, seed, forgetful=True).run() for seed in range(300))
