"""Files for label tools: reviews written to a folder, and corrected masks accepted from one."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learning.review import coco, labelstudio, masks
from learning.review.entries import CorrectedMask, Unusable
from storage.connection import Storage
from storage.photos.class_ids import served_ids
from storage.photos.photo import decode
from storage.problems import Problem
from storage.settings import Settings
from storage.training import decisions, reviews
from storage.training.reviews import Review, Source

JPEG_QUALITY = 95
FORMATS: dict[str, Callable[[Path, Settings], Iterator[CorrectedMask]]] = {
    "png": masks.png,
    "coco": coco.read,
    "voc": masks.voc,
    "labelstudio": labelstudio.read,
}


@dataclass(frozen=True)
class Result:
    """What became of one item. `reason`: why it was left out, or ""."""

    name: str
    tenant: str = ""
    job_id: str = ""
    reason: str = ""


def accept_all(storage: Storage, path: Path, format_: str, by: str) -> Iterator[Result]:
    """Accept each mask of a file or folder for its job. Raises Unusable if the file as a whole cannot be read."""
    tenants = {job_id: tenant for tenant, job_id in (folder.owner for folder in reviews.folders(storage.objects))}
    for entry in FORMATS[format_](path, storage.settings):
        try:
            job_id = entry.job_id
            if job_id not in tenants:
                raise Unusable(f"{job_id} is not in the review inbox")
            review = decisions.open_review(storage.objects, tenants[job_id], job_id)
            mask = entry.draw(decisions.subject_of(storage.objects, storage.jobs, review))
            decisions.accept(storage.objects, storage.jobs, review, mask=mask, source=Source.REVIEWER, by=by)
        except (Unusable, OSError) as error:
            yield Result(entry.name, reason=str(error))
        except Problem as problem:
            yield Result(entry.name, reason=problem.detail)
        else:
            yield Result(entry.name, review.tenant, job_id)


def export(storage: Storage, chosen: Iterable[Review], folder: Path) -> Iterator[Result]:
    """Write upright photos, masks/, labels.json and COCO's annotations.json.

    All reviews must have the classes of the first one; others are left out. Raises OSError.
    """
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    labels, images = None, []
    for review in chosen:
        try:
            subject = decisions.subject_of(storage.objects, storage.jobs, review)
            labels = labels or subject.labels
            if subject.labels != labels:
                raise Unusable(f"{subject.model} has other classes than the reviews before")
            _, photo = decode(decisions.photo(storage.objects, review), storage.settings)
            mask = decisions.stored_mask(storage.objects, storage.jobs, review).grey()
        except Unusable as error:
            yield Result(review.job_id, reason=str(error))
            continue
        except Problem as problem:
            yield Result(review.job_id, reason=problem.detail)
            continue
        name = f"{review.job_id}.jpg"
        photo.info.clear()  # otherwise Pillow copies the upload's comments and colour profile
        photo.save(folder / name, "JPEG", quality=JPEG_QUALITY)
        (folder / "masks" / f"{review.job_id}.png").write_bytes(mask)
        images.append((name, np.asarray(served_ids(mask))))
        yield Result(name, review.tenant, review.job_id)
    (folder / "labels.json").write_text(json.dumps(labels or [], indent=1) + "\n")
    (folder / coco.ANNOTATIONS).write_text(json.dumps(coco.written(images, labels or [])) + "\n")
