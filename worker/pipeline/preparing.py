"""Stages fetch and decode, in threads: from an upload to the network's input."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from model.segmenter import Segmenter
from storage.connection import Storage
from storage.photos.costs import decoding_bytes
from storage.photos.photo import decode
from storage.problems import Problem, Unavailable
from worker.pipeline.memory import GivenUp, Memory
from worker.pipeline.micro_batch import Item, MicroBatch

FETCHERS = 3
MOST_HUNG = 4
MOST_HUNG_SHARE = 0.25  # of the memory: what is left has to hold the largest photo

log = logging.getLogger(__name__)


class Preparing:
    """The threads of a process that fetch and decode. A decoder that hangs is left behind, with its thread."""

    def __init__(self, storage: Storage, memory: Memory) -> None:
        self._storage, self._memory = storage, memory
        self._threads = ThreadPoolExecutor(FETCHERS, "fetch")
        self._left_behind: list[tuple[Item, Future[None]]] = []

    @property
    def hung(self) -> int:
        """Threads that were left behind and have not come back: a large photo on a busy machine is merely slow."""
        self._left_behind = [(item, future) for item, future in self._left_behind if not future.done()]
        return len(self._left_behind)

    @property
    def hopeless(self) -> bool:
        """Too many threads hang, or they hold too much memory: only another process goes on as before."""
        too_many = self.hung >= MOST_HUNG
        held = sum(item.decoding_bytes for item, _ in self._left_behind)
        return too_many or held > MOST_HUNG_SHARE * self._memory.most_bytes

    def begin(self, segmenter: Segmenter, items: list[Item]) -> list[Future[None]]:
        return [self._threads.submit(self._prepare, segmenter, item) for item in items]

    def leave_behind(self, micro_batch: MicroBatch) -> list[str]:
        """Go on without the photos on which a decoder hangs: each loses its lease. → the ids that only stood behind.

        Raises Unavailable where the object store hangs.
        """
        rows = list(zip(micro_batch.items, micro_batch.fetching, strict=True))
        if any(future.running() and "fetch" not in item.timings_ms for item, future in rows):
            raise Unavailable("object store: no photo within half a lease")
        late = [(item, future) for item, future in rows if not future.done()]
        waiting = [item for item, future in late if future.cancel() or not item.decoding_bytes]
        for item in waiting:
            item.given_up = True
        self._memory.look_again()
        for item, future in late:
            if item not in waiting:
                log.error("%s: decoding hangs, left behind", item.job.id)
                self._left_behind.append((item, future))
        micro_batch.items = [item for item, future in rows if future.done() and not future.cancelled()]
        self._threads = ThreadPoolExecutor(FETCHERS, "fetch")
        return [item.job.id for item in waiting]

    def _prepare(self, segmenter: Segmenter, item: Item) -> None:
        """The full-size frame exists in here only: one per thread, all of them within the memory."""
        with item.timed("fetch"):
            content = self._storage.objects.get_upload(item.job.spec)
        if content is None:
            item.problem = Problem("storage_error", "The upload is not in the object store any more.")
            return
        try:
            self._decode(segmenter, item, content)
        except GivenUp:
            log.warning("%s: its turn to be decoded did not come", item.job.id)
        except Problem as problem:
            item.problem = problem
        except Exception:
            log.exception("%s: preparing failed", item.job.id)
            item.problem = Problem("internal", "The photo could not be prepared.")

    def _decode(self, segmenter: Segmenter, item: Item, content: bytes) -> None:
        spec = item.job.spec
        cost = decoding_bytes(spec.format, spec.width, spec.height)
        with self._memory.reserved(cost, lambda: item.given_up):
            item.decoding_bytes = cost
            with item.timed("decode"):
                item.pixels = self._to_input(segmenter, content)

    def _to_input(self, segmenter: Segmenter, content: bytes) -> NDArray[np.uint8]:
        """A function of its own, so that the photo is freed before its memory is given to another thread."""
        # Twice the network's input is enough to scale down from without aliasing.
        _, photo = decode(content, self._storage.settings, at_least=2 * segmenter.card.input_size)
        return segmenter.to_input(photo)
