"""What the learning loop leaves in the object store, without a training: data set versions, candidates, verdicts."""

from pathlib import Path
from typing import Any

from versions import version_folder

from learning.gate.verdict import Check, GateOutcome, Verdict
from model.labels import PETS
from storage import keys, object_keys
from storage.connection import Storage
from storage.training import verdicts
from storage.training.datasets import Item, LeftOut, Manifest, Split

LABELS = tuple(label.to_dict() for label in PETS)


def dataset(
    storage: Storage, name: str = "pets", number: int = 1, *, held: tuple[str, ...] = (), left_out: tuple[str, ...] = ()
) -> Manifest:
    """Publish a version with one gate photo. `held`, `left_out`: job ids of its corrections, and of those without."""
    base = Item("cat", Split.GATE, f"{name}/base/cat.jpg", f"{name}/base/cat.png", "00", "11", "22" * 256)
    made = Manifest(
        name, number, number - 1, LABELS, (base, *(_correction(storage, name, job_id) for job_id in held)),
        tuple(LeftOut("acme", job_id, "it shows a photo of the gate") for job_id in left_out), 1_800_000_000_000,
    )  # fmt: skip
    storage.datasets.publish(made)
    return made


def _correction(storage: Storage, name: str, job_id: str) -> Item:
    folder = object_keys.dataset_items(name, "acme", job_id)
    for suffix in ("jpg", "png"):
        storage.datasets.put(f"{folder}photo.{suffix}", b"a photo")
    photo, mask = f"{folder}photo.jpg", f"{folder}photo.png"
    return Item(job_id, Split.TRAIN, photo, mask, "00", "11", "", "acme", job_id, "ops", 1)


def candidate(storage: Storage, folder: Path, version: str, start: str = "pets/3") -> str:
    """Publish a version as a run does. Returns its whole name."""
    origin = {"run": keys.new_run_id(), "dataset": "pets/1", "start": start}
    return storage.models.publish(version_folder(folder, version, training=origin))


def judged(
    storage: Storage, version: str, outcome: GateOutcome, stable: str = "pets/3", held_out: str = "a"
) -> Verdict:
    """Store a verdict of the gate."""
    needs = 120 if outcome is GateOutcome.UNDECIDED else None
    figures: dict[str, Any] = {"secret score": 0.9}
    checks = (
        Check(
            "better on corrections", "a paired bootstrap", "more than 0", outcome, "it is what it is", needs, figures
        ),
        Check("breeds", "a paired bootstrap", "more than 0", GateOutcome.SKIPPED, "no photo names its group"),
    )
    made = Verdict(version, stable, 0.0125, ("40 photos show a difference of 0.02",), checks, {"secret figure": 1})
    verdicts.store(storage.objects, version, held_out, made.to_dict(), made.public())
    return made
