"""Harmful photos and models: no other job is affected."""

import runpy
import shutil
import time
from collections.abc import Iterator

import offline
import pictures
import pytest
import services
from damage import WORKER, kill, pool_children, replaced
from PIL import Image
from scene import QUICK, Begin, Scene
from stack import Stack

from model.engines import ENGINES
from storage.models import Alias
from storage.objects import MODELS

POISON = services.ROOT / "tests" / "faults" / "poison"
COLOURS = runpy.run_path(str(POISON / "colours.py"))


@pytest.fixture(scope="module")
def poisonable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose engines raise on photos of one colour and kill their process on another."""
    lease = {"LEASE_S": 3}  # a photo that kills its process costs five leases
    with Stack(tmp_path_factory.mktemp("poisonable"), **QUICK | lease, PYTHONPATH=services.customized(POISON)) as stack:
        yield stack


def poison(colour: str) -> offline.Photo:
    """A PNG, which keeps the colour exact."""
    plain = Image.new("RGB", (offline.WIDTH, offline.HEIGHT), COLOURS[colour])
    return offline.Photo(pictures.encoded(plain, "PNG"), offline.photos()[0].mask)


def with_neighbours(scene: Scene, photo: offline.Photo) -> str:
    with scene.held():
        scene.submit(140)
        [bad] = scene.send([photo])
        scene.submit(140)
        with scene.fault():
            pass  # the photo is among the load
    return bad


def test_a_photo_that_makes_the_forward_pass_raise(begin: Begin, poisonable: Stack) -> None:
    scene = begin(poisonable)
    bad = with_neighbours(scene, poison("RAISES"))
    scene.settle({bad: "internal"})
    assert not scene.losses()


@pytest.mark.parametrize("colour", ["KILLS", "KILLS_DECODER"])
def test_a_photo_that_kills_its_process(begin: Begin, poisonable: Stack, colour: str) -> None:
    """The process dies in the forward pass or in the decoder.

    The other photos succeed; this one gets three attempts alone.
    """
    scene = begin(poisonable)
    bad = with_neighbours(scene, poison(colour))
    scene.settle({bad: "poisoned"})
    assert scene.losses()[bad] == 5
    assert max(count for job_id, count in scene.losses().items() if job_id != bad) < 5


@pytest.mark.full
def test_a_model_broken_in_the_store_and_repaired(begin: Begin, poisonable: Stack) -> None:
    """No worker has the version loaded: the jobs wait with a reason, and none fails."""
    scene = begin(poisonable)
    version = scene.storage.models.aliases()[Alias.STABLE]
    key = f"{version}/{ENGINES['litert'].file}"
    whole = scene.storage.objects.get(MODELS, key)
    assert whole
    with scene.held():
        scene.submit(280)
        with scene.fault():
            put(scene, key, whole[: len(whole) // 2])
            shutil.rmtree(poisonable.var / "models" / version, ignore_errors=True)  # no worker may have cached it yet
            victims = poisonable.pids(WORKER)
            kill([*victims, *pool_children(poisonable)])
            replaced(poisonable, WORKER, victims, 2)
            services.wait_until(lambda: reason(scene) == "model_loading", "a worker without a model")
            time.sleep(5)
            assert len(scene.open()) == 280
            put(scene, key, whole)
    scene.settle()


def put(scene: Scene, key: str, content: bytes) -> None:
    scene.storage.objects.put(MODELS, key, content, "application/octet-stream")


def reason(scene: Scene) -> object:
    """The reason why the last job waits, as its owner sees it."""
    job = scene.stack.http.get(f"/v1/jobs/{list(scene.jobs)[-1]}").json()
    return job["queue"] and job["queue"]["waiting_reason"]
