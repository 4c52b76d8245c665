"""A batch as one zip file, streamed: its masks in their folders, a manifest, and COCO annotations."""

import io
import json
from collections.abc import Iterator
from typing import Any

from PIL import Image
from zipstream import ZipStream

from storage.batch import Batch
from storage.connection import Storage
from storage.job import Job, Status
from storage.objects import RESULTS
from web.documents import batch_document
from web.rendering.archive_names import ArchiveNames
from web.rendering.classes import UNTINTED
from web.rendering.formats import FORMATS, STORED
from web.rendering.work import Client, mask_bytes
from web.threads import in_thread


def archive(storage: Storage, batch: Batch, root: str, client: Client) -> Iterator[bytes]:
    """Yield the zip's bytes.

    It holds one mask at a time in memory, and the annotations of all masks (1 to 2 KB per mask).
    """
    stream = ZipStream(sized=False)
    manifest: list[dict[str, Any]] = []
    coco, names = Coco(), ArchiveNames()
    for job in storage.batches.jobs(batch.id):
        mask = storage.objects.get(RESULTS, job.result_key) if job.status is Status.SUCCEEDED else None
        name = names.of(job.spec.custom_id, FORMATS[STORED].suffix) if mask else None
        manifest.append(_manifest_entry(job, name))
        if mask and name:
            with client.turn(mask_bytes(job.spec), refusable=False):
                in_thread(coco.add, job, mask)
            stream.add(mask, f"masks/{name}")
            yield from stream.all_files()
    stream.add(json.dumps({"batch": batch_document(batch, root), "items": manifest}, indent=1), "manifest.json")
    stream.add(json.dumps(coco.document(batch.spec.name)), "coco.json")
    yield from stream.all_files()
    yield from stream.finalize()


def _manifest_entry(job: Job, name: str | None) -> dict[str, Any]:
    outcome = job.outcome
    return {
        "custom_id": job.spec.custom_id,
        "job_id": job.id,
        "status": job.status,
        "mask": f"masks/{name}" if name else None,
        "sha256": outcome.result["sha256"] if outcome and outcome.result else None,
        "model": outcome.model if outcome else None,
        "error": outcome.error if outcome else None,
    }


class Coco:
    """Annotations in COCO's format (https://cocodataset.org/#format-data): one run-length mask per class and image."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[int, dict[str, Any]] = {}

    def add(self, job: Job, mask: bytes) -> None:
        """`mask`: the stored palette PNG of class ids. The class `background` gets no annotation."""
        import numpy as np  # here, so that a web process loads both only when it makes an archive
        from pycocotools import mask as rle

        with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
            ids = np.asarray(image)
        image_id = len(self._images) + 1
        height, width = ids.shape
        self._images.append({"id": image_id, "file_name": job.spec.custom_id, "width": width, "height": height})
        for entry in job.outcome.result["classes"] if job.outcome and job.outcome.result else ():
            if entry["name"] == UNTINTED or not entry["pixels"]:
                continue
            category = entry["id"] + 1  # many importers treat category 0 as the background and drop it
            self._categories[category] = {"id": category, "name": entry["name"]}
            encoded = rle.encode(np.asfortranarray((ids == entry["id"]).astype(np.uint8)))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": {"size": [height, width], "counts": encoded["counts"].decode()},
                    "area": int(rle.area(encoded)),
                    "bbox": [float(side) for side in rle.toBbox(encoded)],
                    "iscrowd": 0,
                }
            )

    def document(self, name: str) -> dict[str, Any]:
        return {
            "info": {"description": name},
            "images": self._images,
            "annotations": self._annotations,
            "categories": sorted(self._categories.values(), key=lambda category: int(category["id"])),
        }
