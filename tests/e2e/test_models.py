"""Versions on the running stack: swaps under load, another engine, and another model."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import services
from numpy.typing import NDArray
from services import wait_until
from stack import Stack

from model.engines import EngineName
from model.masks import to_mask
from model.segmenter import Segmenter
from storage.photos.photo import decode
from storage.settings import Settings

SWAPS, JOBS = 10, 200


def offline(segmenter: Segmenter, content: bytes) -> NDArray[np.uint8]:
    """Compute the mask with the worker's own steps, without a worker."""
    header, photo = decode(content, Settings(), at_least=2 * segmenter.card.input_size)
    logits = segmenter.engine.logits(segmenter.to_input(photo)[None])
    return to_mask(logits[0], header.width, header.height)


def publish(stack: Stack, folder: Path) -> str:
    done = subprocess.run(
        ["segue", "models", "publish", str(folder)], env=stack.env, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[1]


def point(stack: Stack, version: str) -> None:
    assert stack.http.put("/v1/models/aliases/stable", json={"version": version}).status_code == 200


def name(job: dict[str, Any]) -> str:
    return "/".join(job["model"].values())


@pytest.fixture
def two_versions(stack: Stack, shapes_version: Path) -> Iterator[dict[str, Segmenter]]:
    """The shipped model, and one trained on other pictures with other labels."""
    yield {"pets/3": Segmenter(services.SHIPPED_MODEL), publish(stack, shapes_version): Segmenter(shapes_version)}
    point(stack, "pets/3")


def test_ten_swaps_under_load_lose_nothing_and_mix_nothing(stack: Stack, two_versions: dict[str, Segmenter]) -> None:
    """The next swap follows once a new job has shown that the workers followed the last one."""
    contents = [pictures.jpeg(160, 120, seed) for seed in range(20)]

    def serves(version: str) -> bool:
        return name(stack.finished(stack.submit(contents[0]))) == version

    def swap() -> None:
        for version in islice(cycle(reversed(two_versions)), SWAPS):
            point(stack, version)
            wait_until(partial(serves, version), f"a job served by {version}")

    jobs = stack.submit_all(contents * (JOBS // 20), priority="bulk")
    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(swap)
        while not swapping.done():  # so that the queue never runs dry
            jobs += stack.submit_all(contents * 3, priority="bulk")
        swapping.result()
    ended = stack.all_finished(jobs, 120)

    assert {job["status"] for job in ended} == {"succeeded"}
    assert {job["attempt"] for job in ended} == {1}
    assert {name(job) for job in ended} == set(two_versions)
    expected = {
        version: [offline(segmenter, content) for content in contents] for version, segmenter in two_versions.items()
    }
    for i, job in enumerate(ended):
        np.testing.assert_array_equal(stack.mask(job), expected[name(job)][i % 20])
        labels = [label.name for label in two_versions[name(job)].card.labels]
        assert [entry["name"] for entry in job["result"]["classes"]] == labels


def test_a_model_with_other_labels_is_served_end_to_end(stack: Stack, two_versions: dict[str, Segmenter]) -> None:
    shapes = next(version for version in two_versions if version.startswith("shapes/"))
    content = pictures.jpeg(200, 150)
    job = stack.finished(stack.submit(content, model=shapes))
    assert [entry["name"] for entry in job["result"]["classes"]] == ["ground", "shape"]
    np.testing.assert_array_equal(stack.mask(job), offline(two_versions[shapes], content))
    assert stack.http.get(job["links"]["overlay"]).headers["Content-Type"] == "image/jpeg"
    listed = {entry["id"]: entry for entry in stack.http.get("/v1/models").json()["data"]}
    assert listed[shapes]["workers"] >= 1


def test_the_tensorflow_engine_serves(tmp_path: Path) -> None:
    engine: EngineName = "tensorflow"
    stack = Stack(tmp_path, workers=1, ENGINE=engine)
    try:
        assert stack.start().startswith("Segue is ready")
        contents = [pictures.jpeg(300, 200, seed) for seed in range(20)]
        ended = stack.all_finished(stack.submit_all(contents), 120)
        segmenter = Segmenter(services.SHIPPED_MODEL, engine)
        for content, job in zip(contents, ended, strict=True):
            assert job["status"] == "succeeded"
            # The order of summation depends on the batch size, so a pixel on an edge may differ.
            assert (stack.mask(job) == offline(segmenter, content)).mean() > 0.9999
    finally:
        stack.http.close()
        assert stack.stop() == 0


def test_an_engine_that_cannot_run_ends_the_worker_with_one_sentence(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    worker = stack.run_line("worker", tmp_path / "log", ENGINE="tensorflow", PYTHONPATH=path)
    assert worker.wait(services.PATIENCE_S) == 1
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last == "ENGINE=tensorflow: the TensorFlow engine needs the package tensorflow, which is not installed"
