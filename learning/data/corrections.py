"""Prepares an accepted correction for data sets, and stores it under its job."""

import hashlib
import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learning.data.prepare import SIDE, prepare
from model.data import thumbnail
from storage import object_keys
from storage.connection import Storage
from storage.objects import DATASETS, TRAINING
from storage.photos.photo import decode
from storage.problems import Problem
from storage.training.datasets import Item, Manifest
from storage.training.reviews import MASK, PHOTO, Decision, Review, Subject

FORM = "1"  # changes when the same correction would be prepared differently
UNLABELLED = 255


@dataclass(frozen=True)
class Corrected:
    """A prepared correction, or the `reason` why it could not be prepared. Fields as in `datasets.Item`."""

    tenant: str
    job_id: str
    decided_by: str
    decided_ms: int
    photo: str = ""
    mask: str = ""
    photo_sha256: str = ""
    mask_sha256: str = ""
    reason: str = ""

    def thumbnail(self, storage: Storage) -> bytes:
        with Image.open(io.BytesIO(storage.datasets.get(self.photo, self.photo_sha256))) as photo:
            return thumbnail(photo)


def prepare_correction(
    storage: Storage, parent: Manifest, review: Review, decision: Decision, known: Item | None
) -> Corrected:
    """`decision`: the review's; `known`: the job's item in the previous version, if there is one.

    If the photo is erased meanwhile, everything written is removed again.
    """
    origin = Corrected(review.tenant, review.job_id, decision.by, decision.decided_ms)
    if known and known.decided_ms == decision.decided_ms:
        return replace(
            origin, photo=known.photo, mask=known.mask,
            photo_sha256=known.photo_sha256, mask_sha256=known.mask_sha256,
        )  # fmt: skip
    sides = [storage.objects.get(TRAINING, review.key(name)) for name in (PHOTO, MASK)]
    if sides[0] is None or sides[1] is None or decision.subject is None:
        return replace(origin, reason="its photo or its mask is missing")
    try:
        _, photo = decode(sides[0], storage.settings)
        with Image.open(io.BytesIO(sides[1]), formats=["PNG"]) as mask:
            made = prepare(photo, _translated(mask, decision.subject, parent))
    except (Problem, ValueError, OSError, SyntaxError) as error:
        reason = error.detail if isinstance(error, Problem) else str(error)
        return replace(origin, reason=reason)
    digest = hashlib.sha256(b"\n".join((*sides, f"{SIDE} {FORM}".encode()))).hexdigest()[:32]  # type: ignore[arg-type]
    prefix = object_keys.dataset_items(parent.name, review.tenant, review.job_id)
    done = replace(
        origin, photo=f"{prefix}{digest}.jpg", mask=f"{prefix}{digest}.png",
        photo_sha256=made.photo_sha256, mask_sha256=made.mask_sha256,
    )  # fmt: skip
    storage.datasets.put(done.photo, made.photo)
    storage.datasets.put(done.mask, made.mask)
    # An erasure removes the review before the prepared files: this check sees the erasure, or the erasure sees them.
    if storage.objects.get(TRAINING, review.key(PHOTO)) is None:
        for key in (done.photo, done.mask):
            storage.objects.remove(DATASETS, key)
    return done


def _translated(mask: Image.Image, subject: Subject, parent: Manifest) -> Image.Image:
    """The mask with the data set's class ids, matched by name. Raises ValueError if the data set lacks a class."""
    ids = {str(label["name"]): int(label["id"]) for label in parent.labels}
    table = np.full(256, UNLABELLED, np.uint8)
    for label in subject.labels:
        table[int(label["id"])] = ids.get(str(label["name"]), UNLABELLED)
    pixels: NDArray[np.uint8] = np.asarray(mask.convert("L"), np.uint8)
    unknown = [
        str(label["name"]) for label in subject.labels if label["name"] not in ids and (pixels == label["id"]).any()
    ]
    if unknown:
        raise ValueError(f"the data set has no class {unknown[0]}")
    return Image.fromarray(table[pixels])
