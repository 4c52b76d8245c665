"""Redis and Valkey restarted, with all of their data or with less."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import damage
import pytest
import services
from damage import kill, redis_server, run_id
from scene import QUICK, Begin, Scene
from stack import Stack

WINDOW_S = 2.0  # seconds cut off; with `everysec`, a crash of the machine loses about one


@pytest.fixture(scope="module")
def rough_on_each(tmp_path_factory: pytest.TempPathFactory, redis_program: Path) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("rough"), REDIS_SERVER=redis_program, **QUICK) as stack:
        yield stack


@pytest.fixture
def scene(begin: Begin, rough_on_each: Stack) -> Scene:
    return begin(rough_on_each)


def test_redis_killed(scene: Scene) -> None:
    scene.load()
    scene.busy()
    with scene.fault(memory_lost=True), another_redis(scene):
        kill([redis_server(scene.stack)])
    scene.settle()


@contextmanager
def another_redis(scene: Scene) -> Iterator[None]:
    """Redis must be killed in the block; waits until its successor answers."""
    before = run_id(scene.redis)
    yield
    services.wait_until(lambda: damage.answers(scene.redis) and run_id(scene.redis) != before, "Redis")


@pytest.mark.full
def test_the_last_two_seconds_of_redis_lost(scene: Scene) -> None:
    """The end of the append-only file is cut off, with its submits, claims and finishes."""
    scene.load(400)
    scene.busy()
    file = damage.increments(scene.stack)
    size, until = file.stat().st_size, time.monotonic() + WINDOW_S
    scene.submit(100)
    time.sleep(max(0, until - time.monotonic()))
    with scene.fault(memory_lost=True), another_redis(scene), damage.unsupervised(scene.stack):
        kill([redis_server(scene.stack)])
        assert file.stat().st_size > size + 10_000
        os.truncate(file, size)  # Redis writes whole commands, so the cut is between two
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
