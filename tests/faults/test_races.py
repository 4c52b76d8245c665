"""Two processes try to end the same job: exactly one succeeds."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import damage
import pictures
import services
from scene import Row, Scene
from specs import submit

from storage.connection import Storage
from storage.job import Finished, Job, Outcome, Spec, Status
from storage.objects import RESULTS
from storage.problems import Problem
from worker.housekeeping.sweeps import sweep

RACES = 1000


def test_a_zombie_that_wakes_up_after_another_attempt(scene: Scene) -> None:
    """A worker is stopped for longer than its lease. Its late result is discarded."""
    scene.load()
    worker = scene.at_work()
    theirs, child = scene.holds(worker), damage.pool_child(worker)
    assert child
    with scene.fault():
        services.wait_until(lambda: not scene.open(), "the end of all jobs by the other worker")
        before = {job_id: scene.storage.jobs.get(job_id) for job_id in theirs}
        damage.kill([child], signal.SIGCONT)
    scene.settle()
    time.sleep(2)  # time for the zombie to report its result
    assert {job_id: scene.storage.jobs.get(job_id) for job_id in theirs} == before
    assert set(theirs) <= set(scene.losses())
    assert set(scene.results().values()) == {1}


def test_a_thousand_cancels_race_with_their_finishes(connection: Storage, measured: Callable[[Row], None]) -> None:
    """Each job ends once, and its result object agrees with its job hash."""
    content = pictures.jpeg()
    with ThreadPoolExecutor(8) as pool:
        specs = list(pool.map(lambda _: submit(connection, content), range(RACES)))
    ends, over = Counter[str](), threading.Event()
    listener = threading.Thread(target=count_ends, args=(connection, ends, over))
    listener.start()
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(work, connection) for _ in range(3)]
        running += [pool.submit(cancel_all, connection, specs[part::3]) for part in range(3)]
        for one in running:
            one.result()
    sweep(connection)  # ends the jobs that were marked after their holder's last check
    services.wait_until(lambda: ends.total() >= RACES, "the last event")
    over.set()
    listener.join()
    assert ends == Counter(dict.fromkeys((spec.id for spec in specs), 1))
    statuses = Counter(common_status(connection, spec) for spec in specs)
    assert set(statuses) == {Status.SUCCEEDED, Status.CANCELED}
    assert min(statuses.values()) >= RACES // 20
    measured(Row(RACES, 0.0))


def count_ends(connection: Storage, ends: Counter[str], over: threading.Event) -> None:
    with connection.jobs.events() as channel:
        while not over.is_set():
            message = channel.get_message(timeout=0.2)
            if message:
                job_id, status, _ = str(message["data"]).split(" ")
                ends[job_id] += Status(status).final


def work(connection: Storage) -> None:
    """Work as a worker does, without a model: claim, a last check, result, finish."""
    while True:
        token = uuid4().hex
        jobs = connection.jobs.claim(token, token, "worker")
        if not jobs:
            return
        states = connection.jobs.extend(token, token, "worker", [job.id for job in jobs])
        time.sleep(random.uniform(0, 0.01))
        finish(connection, token, [(job, outcome(job, state)) for job, state in zip(jobs, states, strict=True)])


def outcome(job: Job, state: str) -> Outcome:
    if state == "canceled":
        return Outcome.of_problem(job.id, Problem("canceled", "A request canceled the job while it was running."))
    return Outcome(Status.SUCCEEDED, result={"width": 64})


def finish(connection: Storage, token: str, ended: list[tuple[Job, Outcome]]) -> None:
    stored = [Finished(job.id, connection.objects.put_result(job.spec, token, one, b"mask"), one) for job, one in ended]
    for answer, one in zip(connection.jobs.finish(token, "worker", 0, stored), stored, strict=True):
        if answer == "lost":
            connection.objects.remove(RESULTS, one.result_key)


def cancel_all(connection: Storage, specs: list[Spec]) -> None:
    for spec in specs:
        token = uuid4().hex
        if connection.jobs.cancel(spec.id, token) == "leased":
            job = connection.jobs.get(spec.id)
            assert job
            finish(connection, token, [(job, outcome(job, "canceled"))])
        time.sleep(random.uniform(0, 0.004))


def common_status(connection: Storage, spec: Spec) -> Status:
    """Check that the job hash and the only result object have one status. Returns it."""
    job = connection.jobs.get(spec.id)
    assert job
    [listed] = connection.objects.results(spec.tenant, spec.id)
    assert listed.key == job.result_key
    assert listed.key.endswith({Status.SUCCEEDED: ".png", Status.CANCELED: ".canceled"}[job.status])
    return job.status
