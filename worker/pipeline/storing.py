"""The stages encode and store, in threads: from logits to a result object."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

from model.card import Card
from model.images import confidence
from model.labels import Label
from model.masks import class_counts, to_mask
from model.png import to_mask_png
from model.segmenter import Segmenter
from storage.connection import Storage
from storage.job import Finished, Outcome, Status
from storage.objects import OUTCOME_TEXT
from storage.problems import Problem
from storage.result import ClassShare, ModelName, Result
from worker.pipeline.memory import Memory
from worker.pipeline.micro_batch import Item, MicroBatch
from worker.pipeline.probabilities import chunks

STORERS = 3
BYTES_PER_PIXEL = 14  # peak while a mask is encoded; tests/worker/test_memory.py measures it

log = logging.getLogger(__name__)


class Storing:
    """The threads of a process that encode and store."""

    def __init__(self, storage: Storage, memory: Memory) -> None:
        self._storage, self._memory = storage, memory
        self._threads = ThreadPoolExecutor(STORERS, "store")

    def begin(self, micro_batch: MicroBatch) -> list[Future[Finished]]:
        return [self._threads.submit(self._store, micro_batch, item) for item in micro_batch.items]

    def _store(self, micro_batch: MicroBatch, item: Item) -> Finished:
        """Encode one item, store its result object, and return the arguments for `finish`."""
        mask, outcome = self._encode(micro_batch.segmenter, item)
        objects, job = self._storage.objects, item.job
        with item.timed("store"):
            if job.again:
                return Finished(job.id, *objects.put_result_after_others(job.spec, micro_batch.token, outcome, mask))
            key = objects.put_result(job.spec, micro_batch.token, outcome, mask)
            return Finished(job.id, key, outcome, mask if job.awaited else b"")

    def _encode(self, segmenter: Segmenter, item: Item) -> tuple[bytes, Outcome]:
        if item.problem is None:
            try:
                with self._memory.reserved(item.job.spec.width * item.job.spec.height * BYTES_PER_PIXEL):
                    return encode_result(item, segmenter)
            except Exception:
                log.exception("encoding_failed", extra=item.job.spec.log_fields)
        problem = item.problem or Problem("internal", "The mask could not be encoded.")
        return b"", Outcome.of_problem(item.job.id, problem, item.timings_ms, item.offsets_ms)


def _share(card: Card, label: Label, pixels: int, size: int) -> ClassShare:
    share: ClassShare = {
        "id": label.id,
        "name": label.name,
        "color": list(label.color),
        "pixels": pixels,
        "fraction": round(pixels / size, 6),
    }
    if thresholds := card.guarantee.get("classes", {}).get(label.name):
        share["regions"] = thresholds
    return share


def encode_result(item: Item, segmenter: Segmenter) -> tuple[bytes, Outcome]:
    """Encode an item's logits as a PNG: the mask at the size of the upright photo, outcome and confidence included.

    Returns the file and the outcome, which has the file's digest. Raises ValueError if there are no logits.
    """
    spec, card, logits = item.job.spec, segmenter.card, item.logits
    if logits is None:
        raise ValueError("no logits: the item has not passed the engine")
    with item.timed("encode"):
        mask, sure = to_mask(logits, spec.width, spec.height), confidence(logits)
        counts = class_counts(mask, len(card.labels))
        model: ModelName = {"name": card.name, "version": card.version}
        result: Result = {
            "width": spec.width,
            "height": spec.height,
            "classes": [
                _share(card, label, count, mask.size) for label, count in zip(card.labels, counts, strict=True)
            ],
            "confidence": round(float(sure.mean()), 4),
        }
        outcome = Outcome(Status.SUCCEEDED, model, result, item.timings_ms, offsets_ms=item.offsets_ms)
        text = {"segue:job": spec.id, "segue:model": card.id, OUTCOME_TEXT: outcome.to_json()}
        content = to_mask_png(mask, card.labels, text, dict(chunks(sure, logits, card)))
    return content, outcome.with_digest(content)
