"""A running stack that learns: photos of a kind that its model gets wrong, and their corrections."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import services
import shapes
from numpy.typing import NDArray
from operating import segue_in
from PIL import Image
from stack import Stack

from model.evaluation.scores import Scores

TINT = np.array([1.0, 0.45, 0.3], np.float32)
# What makes a training of the toy set short.
CHANGES = {"epochs": 5, "epoch_photos": 256, "batch_size": 8, "learning_rate": 5e-3, "evaluate_every": 5}
QUICK = tuple(part for name, value in CHANGES.items() for part in ("--set", f"{name}={value}"))


def trains() -> bool:
    return find_spec("tensorflow") is not None


def cast(seed: int) -> tuple[bytes, NDArray[np.uint8]]:
    """A picture of shapes as a red negative, in JPEG, and its mask: what is bright to the model is ground here."""
    photo, mask = shapes.picture(seed)
    negative = (255 - np.asarray(photo, np.float32)) * TINT
    return pictures.encoded(Image.fromarray(negative.astype(np.uint8)), quality=92), np.asarray(mask)


def mean_iou(stack: Stack, seeds: Iterable[int], version: str = "") -> float:
    """Of the masks that the stack makes of cast photos, over both classes and all photos.

    Fails if another version than `version`, if given, has made one of them.
    """
    photos = [cast(seed) for seed in seeds]
    jobs = stack.all_finished(stack.submit_all([content for content, _ in photos]))
    assert not version or {served_by(job) for job in jobs} == {version}
    masks = (stack.mask(job) for job in jobs)
    truths = (truth for _, truth in photos)
    return Scores.of(zip(truths, masks, strict=True), len(shapes.LABELS)).mean_iou


def corrected(stack: Stack, photos: list[tuple[bytes, NDArray[np.uint8]]]) -> list[str]:
    """Submit photos, and send corrected masks with a consent. Returns the ids of the jobs."""
    jobs = stack.all_finished(stack.submit_all([content for content, _ in photos]))

    def send(job: dict[str, Any], truth: NDArray[np.uint8]) -> str:
        answer = stack.http.post(
            f"/v1/jobs/{job['id']}/feedback",
            data={"verdict": "corrected", "consent_training": "true"},
            files={"mask": ("mask.png", pictures.encoded(Image.fromarray(truth), "PNG"))},
        )  # fmt: skip
        assert answer.status_code in (200, 201), answer.text
        return str(job["id"])

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(send, jobs, [truth for _, truth in photos]))


def accept(stack: Stack, job_ids: list[str]) -> None:
    for job_id in job_ids:
        answer = stack.http.post(f"/v1/training/inbox/{job_id}/decision", json={"decision": "accept"})
        assert answer.status_code == 200, answer.text


def segue(stack: Stack, *arguments: object, fails: bool = False) -> str:
    """Run `segue ...` as the operator. Returns what it printed."""
    return segue_in({**stack.environment(), "PYTHONPATH": services.PYTHONPATH}, *arguments, fails=fails)


def data_folder(root: Path, train: int = 140, test: int = 20, gate: int = 80) -> Path:
    """A data folder whose gate set is large enough to decide."""
    shapes.write_data(root, train, test)
    names = (root / "splits" / "train.txt").read_text().split()
    (root / "splits" / "gate.txt").write_text("\n".join(names[-gate:]) + "\n")
    (root / "splits" / "train.txt").write_text("\n".join(names[:-gate]) + "\n")
    return root


def serves(stack: Stack, version: str) -> bool:
    """Whether a new job gets its mask from the version."""
    return served_by(stack.finished(stack.submit(cast(0)[0]))) == version


def served_by(job: dict[str, Any]) -> str:
    """The version that made the mask of a job; "" if it has none."""
    return "/".join((job["model"] or {}).values())


def candidate(stack: Stack, version: str) -> dict[str, Any]:
    found = json.loads(segue(stack, "candidates", "list", "--json"))
    return dict(next(one for one in found if one["version"] == version))
