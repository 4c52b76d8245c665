"""The stages fetch and decode, in threads: from an upload to the network's input."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

from storage.connection import Storage
from storage.photos.costs import decoding_bytes
from storage.photos.photo import decode
from storage.problems import Problem, Unavailable
from worker.pipeline.memory import GivenUp, Memory
from worker.pipeline.micro_batch import Item, MicroBatch

FETCHERS = 3
MOST_HUNG = 4
MOST_HUNG_SHARE = 0.25  # of the memory; the rest must suffice for the largest photo

log = logging.getLogger(__name__)


class Preparing:
    """The threads of a process that fetch and decode.

    A decoder that hangs is abandoned, with its thread.
    """

    def __init__(self, storage: Storage, memory: Memory) -> None:
        self._storage, self._memory = storage, memory
        self._threads = ThreadPoolExecutor(FETCHERS, "fetch")
        self._abandoned: list[tuple[Item, Future[None]]] = []

    @property
    def hung(self) -> int:
        """How many abandoned threads still run.

        Some do finish: a large photo on a busy machine is only slow.
        """
        self._abandoned = [(item, future) for item, future in self._abandoned if not future.done()]
        return len(self._abandoned)

    @property
    def stuck(self) -> bool:
        """Whether too many threads hang, or hold too much memory: the process must be replaced."""
        too_many = self.hung >= MOST_HUNG
        held = sum(item.decoding_bytes for item, _ in self._abandoned)
        return too_many or held > MOST_HUNG_SHARE * self._memory.most_bytes

    def begin(self, micro_batch: MicroBatch) -> list[Future[None]]:
        return [self._threads.submit(self._prepare, micro_batch, item) for item in micro_batch.items]

    def abandon_late(self, micro_batch: MicroBatch) -> list[str]:
        """Remove the photos that are not decoded yet, and continue with new threads.

        A photo on which a decoder hangs loses its lease when that expires. Returns the ids of the photos that only
        waited, whose leases the caller releases. Raises Unavailable if the object store hangs.
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
                log.error("decoder_hangs", extra=item.job.spec.log_fields)
                self._abandoned.append((item, future))
        micro_batch.items = [item for item, future in rows if future.done() and not future.cancelled()]
        self._threads = ThreadPoolExecutor(FETCHERS, "fetch")
        return [item.job.id for item in waiting]

    def _prepare(self, micro_batch: MicroBatch, item: Item) -> None:
        """Fetch and decode one photo.

        Only this call holds the full-size frame, within the memory limit.
        """
        with item.timed("fetch"):
            content = self._storage.objects.get_upload(item.job.spec)
        if content is None:
            item.problem = Problem("storage_error", "The object store no longer has the upload.")
            return
        try:
            self._decode(micro_batch, item, content)
        except GivenUp:
            log.warning("decoding_given_up", extra=item.job.spec.log_fields)
        except Problem as problem:
            item.problem = problem
        except Exception:
            log.exception("decoding_failed", extra=item.job.spec.log_fields)
            item.problem = Problem("internal", "The photo could not be prepared.")

    def _decode(self, micro_batch: MicroBatch, item: Item, content: bytes) -> None:
        spec = item.job.spec
        cost = decoding_bytes(spec.format, spec.width, spec.height)
        with self._memory.reserved(cost, lambda: item.given_up):
            item.decoding_bytes = cost
            with item.timed("decode"):
                self._to_input(micro_batch, item, content)

    def _to_input(self, micro_batch: MicroBatch, item: Item, content: bytes) -> None:
        """Decode and scale a photo.

        A separate function, so that the photo is freed before its reservation is.
        """
        segmenter, shadow = micro_batch.segmenter, micro_batch.shadow if item.job.shadow else None
        # Twice the network's input size is enough for scaling without aliasing.
        largest = max(one.card.input_size for one in (segmenter, shadow) if one)
        _, photo = decode(content, self._storage.settings, at_least=2 * largest)
        item.pixels = segmenter.to_input(photo)
        if shadow:
            item.shadow_pixels = shadow.to_input(photo)
