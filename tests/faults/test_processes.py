"""Processes killed and stopped under load."""

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import damage
import httpx
import offline
import pytest
import services
from damage import HOUSEKEEPER, WEB, WORKER, family, gone, kill, replaced
from repeating import repeating
from scene import LOAD, SLOWEST_S, Document, Scene
from stack import Stack

from storage.objects import UPLOADS
from storage.queue.idempotency import BUSY_MS
from worker import watch

DRAIN_S = 15


def test_a_worker_killed_five_times(scene: Scene) -> None:
    """Kill one process of the worker, as by mistake, and all of them in turn, as in a machine failure."""
    orphans: list[int] = []
    for round_ in range(5):
        scene.load()
        victim = scene.at_work()
        children = family(victim)
        victims = [victim, *children] if round_ % 2 else [victim]
        with scene.fault():
            assert kill(victims) == victims
            kill(children, signal.SIGCONT)
        orphans += children
        replaced(scene.stack, WORKER, [victim], 2)
    scene.settle()
    assert sum(scene.losses().values()) > 0
    check_ended(orphans)


def check_ended(orphans: list[int]) -> None:
    """Check that the orphans have ended. Kill those that have not: no supervisor knows them."""
    try:
        services.wait_until(lambda: all(gone(pid) for pid in orphans), "the end of the orphans")
    finally:
        kill(orphans)


def test_a_pool_child_killed_five_times(scene: Scene) -> None:
    for _ in range(5):
        scene.load()
        worker, child = child_at_work(scene)
        with scene.fault():
            assert kill([child]) == [child]
        another_child(worker, child)
    scene.settle()
    assert sum(scene.losses().values()) > 0


def test_a_pool_child_slow_to_start_does_not_end_its_worker(scene: Scene) -> None:
    """All children stand still for longer than a parent may hold no ticket; one of them has not started yet."""
    scene.load()
    worker, child = child_at_work(scene)
    with scene.fault():
        assert kill([child]) == [child]
        another_child(worker, child)
        with scene.held():
            time.sleep(watch.CONSUMES_WITHIN_S + 3 * watch.BEAT_S)
    assert worker in scene.stack.pids(WORKER)
    scene.settle()


def test_the_housekeeper_killed_three_times(scene: Scene) -> None:
    """Each time together with a pool child, so that there is a lost lease to recover."""
    orphans: list[int] = []
    for _ in range(3):
        scene.load()
        [keeper] = scene.stack.pids(HOUSEKEEPER)
        orphans += family(keeper)
        worker, child = child_at_work(scene)
        with scene.fault():
            assert kill([keeper, child]) == [keeper, child]
        replaced(scene.stack, HOUSEKEEPER, [keeper], 1)
        another_child(worker, child)
    scene.settle()
    assert sum(scene.losses().values()) > 0
    check_ended(orphans)


def child_at_work(scene: Scene) -> tuple[int, int]:
    """Return the pids of a worker and of its pool child, which is stopped while it holds jobs."""
    worker = scene.at_work()
    child = damage.pool_child(worker)
    assert child
    return worker, child


def another_child(worker: int, former: int) -> None:
    services.wait_until(lambda: damage.pool_child(worker) not in (None, former), "another child")


def check_nothing_repeated(scene: Scene) -> None:
    """Check that no attempt was lost and no job has two results."""
    assert not scene.losses()
    assert set(scene.results().values()) == {1}


@pytest.mark.full
def test_a_worker_ended_by_sigterm_repeats_nothing(scene: Scene) -> None:
    scene.load()
    victim = scene.stack.pids(WORKER)[0]
    with scene.fault():
        kill([victim], signal.SIGTERM)
        services.wait_until(lambda: gone(victim), "a worker's orderly end", DRAIN_S)
    scene.settle()
    check_nothing_repeated(scene)


@pytest.mark.full
def test_all_workers_restarted_in_turn_repeat_nothing(scene: Scene) -> None:
    for victim in scene.stack.pids(WORKER):
        while len(scene.open()) < LOAD:  # do not stop the pool children: an expired lease would look like a repetition
            scene.submit(LOAD)
        with scene.fault():
            kill([victim], signal.SIGTERM)
            services.wait_until(lambda pid=victim: gone(pid), "a worker's orderly end", DRAIN_S)
        replaced(scene.stack, WORKER, [victim], 2)
    scene.settle()
    check_nothing_repeated(scene)


def submit_until_accepted(scene: Scene, photo: offline.Photo, key: str) -> Document:
    """Repeat a request with the same key until it is accepted. Returns the job."""
    give_up = time.monotonic() + services.PATIENCE_S
    while time.monotonic() < give_up:
        try:
            answer = httpx.post(
                f"{scene.stack.http.base_url}/v1/jobs", content=photo.content, timeout=20,
                headers={"Content-Type": "image/jpeg", "Idempotency-Key": key},
            )  # fmt: skip
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if answer.status_code == 202:
            return dict(answer.json())
        assert answer.status_code in (409, 503), answer.text
        time.sleep(0.5)
    raise AssertionError(f"{key} was not accepted")


@contextmanager
def clients(scene: Scene, threads: int = 8) -> Iterator[dict[str, Document]]:
    """Send photos continuously from several threads. Yields the accepted job of each key."""
    accepted: dict[str, Document] = {}
    numbers, photos = count(), offline.photos()

    def send() -> None:
        number = next(numbers)
        photo = photos[number % len(photos)]
        job = accepted[f"key-{number}"] = submit_until_accepted(scene, photo, f"key-{number}")
        scene.accept(job, photo)

    with repeating(send, threads):
        yield accepted


def half_sent(stack: Stack, key: str) -> socket.socket:
    """Send the first half of a request."""
    body = offline.photos()[0].content
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"
    connection = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
    connection.sendall(f"{head}Idempotency-Key: {key}\r\nConnection: close\r\n\r\n".encode() + body[: len(body) // 2])
    return connection


def rest_sent(connection: socket.socket) -> str:
    """Send the second half. Returns the status line of the response, or nothing."""
    body = offline.photos()[0].content
    with connection:
        try:
            connection.sendall(body[len(body) // 2 :])
            return connection.makefile("rb").readline().decode().strip()
        except OSError:
            return ""


def uploads(scene: Scene) -> set[str]:
    return {entry.key for entry in scene.storage.objects.listing(UPLOADS, "")}


@pytest.mark.full
def test_the_web_killed_in_mid_upload_five_times(scene: Scene) -> None:
    """A client that repeats a request with its key gets one job, however often the web process died."""
    before = uploads(scene)
    with scene.held():
        scene.submit(LOAD)
        with clients(scene) as accepted:
            for round_ in range(5):
                half = [half_sent(scene.stack, f"half-{round_}-{number}") for number in range(4)]
                [master] = scene.stack.pids(WEB)
                time.sleep(0.5)
                with scene.fault():
                    assert kill([master, *family(master)])
                assert [rest_sent(connection) for connection in half] == [""] * 4
                replaced(scene.stack, WEB, [master], 1)
                services.wait_until(lambda: damage.reachable(scene.stack), "the web after its end")
                time.sleep(0.5)
    # A key that a killed request reserved stays busy, and its client repeats until then, before workers go on.
    scene.settle(within_s=SLOWEST_S + BUSY_MS / 1000)
    for key, job in list(accepted.items())[::10]:
        assert submit_until_accepted(scene, scene.jobs[job["id"]], key)["id"] == job["id"]
    assert len({job["id"] for job in accepted.values()}) == len(accepted) > 20
    stored = {key.rpartition("/")[2] for key in uploads(scene) - before}
    assert stored == set(scene.jobs)


@pytest.mark.full
def test_the_web_ended_by_sigterm_cuts_no_request(scene: Scene) -> None:
    """Uploads in progress and long polls get their responses; another web process takes over."""
    with scene.held(), ThreadPoolExecutor(10) as pool:
        scene.submit(LOAD)
        half = [half_sent(scene.stack, f"drained-{number}") for number in range(10)]
        polls = [pool.submit(poll, scene, job_id) for job_id in list(scene.jobs)[-10:]]
        time.sleep(1)
        [master] = scene.stack.pids(WEB)
        with scene.fault():
            kill([master], signal.SIGTERM)
            time.sleep(1)
            answers = [rest_sent(connection) for connection in half]
            replaced(scene.stack, WEB, [master], 1)
    assert answers == ["HTTP/1.1 202 ACCEPTED"] * 10
    assert [one.result() for one in polls] == ["200"] * 10
    services.wait_until(lambda: damage.reachable(scene.stack), "the web after its end")
    scene.settle()


def poll(scene: Scene, job_id: str) -> str:
    """Long-poll a job. Returns the status of the response, or why there was none."""
    url = f"{scene.stack.http.base_url}/v1/jobs/{job_id}"
    try:
        return str(httpx.get(url, headers={"Prefer": "wait=30"}, timeout=40).status_code)
    except httpx.HTTPError as error:
        return str(error)


@pytest.mark.full
def test_two_housekeepers_at_once(scene: Scene, tmp_path: Path) -> None:
    """Both sweep the same jobs; no job ends twice."""
    second = scene.stack.run_line("housekeeper", tmp_path / "log", VAR=str(tmp_path))
    try:
        services.wait_until(lambda: "ready." in (tmp_path / "log").read_text(), "the second housekeeper")
        for _ in range(3):
            scene.load()
            worker, child = child_at_work(scene)
            with scene.fault():
                assert kill([child]) == [child]
            another_child(worker, child)
        scene.settle()
        assert second.poll() is None
    finally:
        second.terminate()
        assert second.wait(services.PATIENCE_S) == 0
    assert sum(scene.losses().values()) > 0
    assert set(scene.results().values()) == {1}
