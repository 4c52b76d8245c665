"""Redis stopped and flushed. The object store is the truth: a loss in Redis only delays jobs."""

import time

import damage
import pytest
import services
from damage import WORKER, redis_server, stopped
from scene import Scene

from storage.keys import PREFIX, SEGMENT_QUEUE

KOMBU_KEYS = ("worker:unacked", "worker:unacked_index", "worker:unacked_mutex")


@pytest.mark.full
def test_redis_stopped_for_ten_seconds(scene: Scene) -> None:
    scene.load()
    scene.busy()
    with scene.fault(), stopped([redis_server(scene.stack)]):
        assert not damage.answers(scene.redis)
        time.sleep(10)
    scene.settle()


def test_everything_in_redis_deleted(scene: Scene) -> None:
    """Ended jobs stay as they were, and the others are processed."""
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
    """All tickets are deleted; no worker holds one."""
    with stopped(scene.stack.pids(WORKER)):
        for client in scene.redis.client_list():
            if client["cmd"] == "brpop":  # it would fetch a ticket for a stopped worker
                scene.redis.client_kill_filter(_id=client["id"])
        scene.submit(280)
        with scene.fault():
            assert scene.redis.llen(SEGMENT_QUEUE) >= 10
            scene.redis.delete(SEGMENT_QUEUE, *KOMBU_KEYS)
    scene.settle()
