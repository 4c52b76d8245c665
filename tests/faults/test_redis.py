"""Redis stopped, killed, emptied, set back. The object store is the truth: losing any of it only delays."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import damage
import pytest
import services
from damage import WORKER, kill, redis_server, run_id, stopped
from scene import Scene

from storage.keys import PREFIX, SEGMENT_QUEUE

WINDOW_S = 2.0  # what is cut off; with `everysec` a crash of the machine costs about one
KOMBU_KEYS = ("worker:unacked", "worker:unacked_index", "worker:unacked_mutex")


@pytest.mark.full
def test_redis_stands_still_for_ten_seconds(scene: Scene) -> None:
    scene.load()
    scene.busy()
    with scene.fault(), stopped([redis_server(scene.stack)]):
        assert not damage.answers(scene.redis)
        time.sleep(10)
    scene.settle()


def test_redis_killed(scene: Scene) -> None:
    scene.load()
    scene.busy()
    with scene.fault(memory_lost=True), another_redis(scene):
        kill([redis_server(scene.stack)])
    scene.settle()


@contextmanager
def another_redis(scene: Scene) -> Iterator[None]:
    """It ends inside of the block; after it another one answers."""
    before = run_id(scene.redis)
    yield
    services.wait_until(lambda: damage.answers(scene.redis) and run_id(scene.redis) != before, "Redis", 30)


@pytest.mark.full
def test_the_last_two_seconds_of_redis_lost(scene: Scene) -> None:
    """Submits, claims and finishes of that time are forgotten: the end of the append-only file is cut off."""
    scene.load(400)
    scene.busy()
    file = damage.increments(scene.stack)
    size, until = file.stat().st_size, time.monotonic() + WINDOW_S
    scene.submit(100)
    time.sleep(max(0, until - time.monotonic()))
    with scene.fault(memory_lost=True), another_redis(scene), damage.unsupervised(scene.stack):
        kill([redis_server(scene.stack)])
        assert file.stat().st_size > size + 10_000
        os.truncate(file, size)  # written in whole commands, so this is the end of one
    scene.settle()


@pytest.mark.full
def test_an_older_snapshot_of_redis_put_back(scene: Scene, tmp_path: Path) -> None:
    scene.load(400)
    scene.busy()
    folder = damage.append_only_files(scene.stack)
    until = time.monotonic() + WINDOW_S
    shutil.copytree(folder, tmp_path / "older")
    scene.submit(100)
    time.sleep(max(0, until - time.monotonic()))
    with scene.fault(memory_lost=True), another_redis(scene), damage.unsupervised(scene.stack):
        kill([redis_server(scene.stack)])
        shutil.rmtree(folder)
        shutil.move(tmp_path / "older", folder)
    scene.settle()


def test_everything_in_redis_deleted(scene: Scene) -> None:
    """What had ended stays as it was, what had not is done."""
    scene.submit(40)
    services.wait_until(lambda: not scene.open(), "the first jobs' end")
    services.wait_until(lambda: len(scene.watcher.ends) > 5, "a look at some ends")
    with scene.held():
        scene.submit(280)
        with scene.fault(memory_lost=True):
            assert scene.redis.dbsize() > 320
            scene.redis.flushall()
    scene.settle()


def test_the_pending_set_deleted(scene: Scene) -> None:
    parts = ("pending", "turns", "models")
    with scene.held():
        scene.submit(280)
        with scene.fault():
            found = [key for part in parts for key in scene.redis.scan_iter(f"{PREFIX}{part}:*")]
            assert scene.redis.delete(*found) >= 4
    scene.settle()


def test_the_ticket_queue_deleted(scene: Scene) -> None:
    """All tickets, none of them in a worker's hand already."""
    with stopped(scene.stack.pids(WORKER)):
        for client in scene.redis.client_list():
            if client["cmd"] == "brpop":  # it would take a ticket for a worker that stands still
                scene.redis.client_kill_filter(_id=client["id"])
        scene.submit(280)
        with scene.fault():
            assert scene.redis.llen(SEGMENT_QUEUE) >= 10
            scene.redis.delete(SEGMENT_QUEUE, *KOMBU_KEYS)
    scene.settle()
