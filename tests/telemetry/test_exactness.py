"""Prometheus' counters of jobs equal the account of the jobs, although processes were killed in the middle."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import damage
import httpx
import offline
import pictures
import pytest
import services
from damage import HOUSEKEEPER, WEB, WORKER, family, kill, replaced
from prometheus import Prometheus
from repeating import repeating
from scene import QUICK, Scene
from stack import Stack

from storage.connection import Storage
from storage.keys import Owner
from storage.objects import UPLOADS

PORTS, SENDERS, ROUNDS, CANCELLED = 10, 4, 2, 5
EVERY_DAMAGED = 10


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "stack", METRICS_PORT=services.free_ports(PORTS), **QUICK) as made:
        yield made


@pytest.fixture
def scraped(prometheus_programs: None, stack: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    first = int(stack.env["METRICS_PORT"])
    with Prometheus(tmp_path, range(first, first + PORTS)) as made:
        yield made


@contextmanager
def traffic(stack: Stack) -> Iterator[None]:
    """Send photos, some of them damaged, until the block ends. Each request is repeated until it is accepted."""
    numbers = itertools.count()
    sound = [photo.content for photo in offline.photos()]

    def send() -> None:
        number = next(numbers)
        content = pictures.truncated_jpeg() if number % EVERY_DAMAGED == 0 else sound[number % len(sound)]
        while not accepted(stack, content, f"key-{number}"):
            time.sleep(0.2)

    with repeating(send, SENDERS):
        yield


def accepted(stack: Stack, content: bytes, key: str) -> bool:
    headers = {"Content-Type": "image/jpeg", "Idempotency-Key": key}
    try:
        answer = httpx.post(f"{stack.http.base_url}/v1/jobs", content=content, headers=headers, timeout=20)
    except httpx.HTTPError:
        return False
    return answer.status_code == 202


def kill_each_program(scene: Scene) -> None:
    """SIGKILL a worker that holds leases, a pool child, the web server and the housekeeper, with their children."""
    worker = scene.at_work()
    victims = [worker, *family(worker)]
    kill(victims)
    replaced(scene.stack, WORKER, [worker], 2)
    child = damage.pool_child(scene.at_work())
    assert child
    kill([child])
    for program in (WEB, HOUSEKEEPER):
        [parent] = scene.stack.pids(program)
        assert kill([parent, *family(parent)])
        replaced(scene.stack, program, [parent], 1)


def cancel_some(stack: Stack) -> None:
    with damage.stopped(damage.pool_children(stack)):
        jobs = stack.submit_all([pictures.jpeg(seed=number) for number in range(CANCELLED)])
        for job in jobs:
            assert stack.http.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200


def account(storage: Storage) -> Counter[str]:
    """Count the jobs from their objects. Only lost leases leave no object; the job hashes list them."""
    owners: list[Owner] = [
        owner for hour in storage.objects.folders(UPLOADS) for owner, _ in storage.objects.of_jobs(UPLOADS, hour)
    ]
    found = Counter(jobs=len(owners))
    for owner in owners:
        ending = storage.objects.ending(storage.objects.results(*owner))
        assert ending, f"{owner} is open"
        outcome = ending[1]
        found[outcome.status] += 1
        if outcome.error:
            found[f"code {outcome.error['code']}"] += 1
    jobs = storage.jobs.get_many([job_id for _, job_id in owners])
    found["lost"] = sum(job.lost.count(";") for job in jobs if job)
    return found


def test_the_counters_equal_the_account_of_the_jobs(stack: Stack, scraped: Prometheus) -> None:
    with Scene(stack) as scene:
        with traffic(stack):
            for _ in range(ROUNDS):
                kill_each_program(scene)
        damage.calm(stack)
        cancel_some(stack)
        damage.calm(stack)
        counted = account(scene.storage)
    scraped.wait_for_scrapes()

    def value(query: str) -> float:
        found = scraped.value(query)
        assert found is not None, query
        return found

    assert counted["lost"] >= ROUNDS
    assert value("sum(max by (source) (segue_jobs_accepted_total))") == counted["jobs"]
    for status in ("succeeded", "failed", "canceled", "expired"):
        assert value(f'max(segue_jobs_ended_total{{status="{status}"}})') == counted[status], status
    assert value('max(segue_jobs_failed_total{code="image_decode_failed"})') == counted["code image_decode_failed"] > 0
    assert value("sum(max by (code) (segue_jobs_failed_total))") == counted["failed"]
    assert value("max(segue_leases_lost_total)") == counted["lost"]
    by_workers = counted["succeeded"] + counted["failed"]
    released = value("max(segue_attempts_released_total)")
    assert value("max(segue_attempts_total)") == by_workers + counted["lost"] + released


def test_counters_in_memory_would_be_lost(stack: Stack, scraped: Prometheus) -> None:
    """Shows why jobs are counted in Redis: a killed worker takes the images that it has counted along."""
    stack.all_finished(stack.submit_all([pictures.jpeg(seed=number) for number in range(CANCELLED)]))

    def counted() -> tuple[float | None, float | None]:
        return scraped.value("sum(segue_images_total)"), scraped.value("max(segue_attempts_total)")

    services.wait_until(lambda: counted() == (CANCELLED, CANCELLED), "both counters")
    workers = stack.pids(WORKER)
    kill([pid for worker in workers for pid in (worker, *family(worker))])
    replaced(stack, WORKER, workers, 2)
    damage.calm(stack)
    scraped.wait_for_scrapes()
    services.wait_until(lambda: counted() in ((None, CANCELLED), (0, CANCELLED)), "the counter in memory to be gone")
