"""Sends a folder of photos as a batch, and writes the masks into another folder: `segue folder`.

All state is in the journal and in the existing masks. A run may be killed at any point; the same
command then finishes it.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from segue_client.batch import Batch
from segue_client.client import Client
from segue_client.connection import ConfigurationError
from segue_client.documents import AppendOutcome, Item, ProblemError
from segue_client.failures import FAILURES, explained, local_problem
from segue_client.folder import journal as folder_journal
from segue_client.folder.fetching import fetch
from segue_client.folder.forecast import announce
from segue_client.folder.journal import Journal
from segue_client.folder.order import Order, UsageError
from segue_client.folder.parallel import in_parallel
from segue_client.folder.report import Report, progress
from segue_client.folder.state import State
from segue_client.folder.walk import Found, Photo, Refused, read, walk
from segue_client.terminal import printable

FIRST_ANSWER_S = 4
CHUNK_FILES, CHUNK_BYTES = 16, 16 * 1024**2

Chunk = list[tuple[Photo, bytes]]


def run(order: Order) -> Report:
    """Send what has not been sent and fetch the missing masks.

    Raises UsageError for wrong arguments; later failures are in the report.
    """
    order.check()
    started, found = time.monotonic(), walk(order.source, order.out)
    with (
        closing(_journal(order.out)) as journal,
        _client(order) as client,
        progress(len(found.photos)) as show,
    ):
        work = _Run(order, client, journal, found, show)
        try:
            work.run()
        except (*FAILURES, OSError) as failure:
            work.report.interrupted = isinstance(failure, KeyboardInterrupt)
            work.report.error = explained(failure)
        work.state.conclude(work.report)
    if not work.report.photos:
        work.report.error = work.report.error or local_problem("Nothing sent", f"no photos in {order.source}")
    work.report.seconds = round(time.monotonic() - started, 1)
    return work.report


def _journal(out: Path) -> Journal:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return Journal(out / folder_journal.NAME)
    except OSError as error:
        raise UsageError(f"{error.filename or out}: {error.strerror}.") from error


def _client(order: Order) -> Client:
    try:
        return Client(order.url, key=order.key)
    except ConfigurationError as error:
        raise UsageError(str(error)) from error


class _Run:
    """One run. Its methods run in one thread, the only one that writes the journal.

    Other threads only send photos, and fetch and write masks.
    """

    def __init__(
        self, order: Order, client: Client, journal: Journal, found: Found, show: Callable[[int, int], None]
    ) -> None:
        self.order, self.client, self.journal, self.show = order, client, journal, show
        self.state = State(order, journal, found)
        self.fetch = partial(fetch, client, self.state)
        self.report = Report(ignored=[{"file": file, "reason": reason} for file, reason in found.ignored])
        self.replaced: list[Photo] = []  # the open batch has an older content of these photos
        self.cursors: dict[str, int] = {}
        self.early: defaultdict[str, list[Item]] = defaultdict(list)  # finished before their upload was journaled
        self.settled = sum(self.state.has_mask(photo) for photo in found.photos)

    def run(self) -> None:
        """Send what is missing, to an open batch or a new one, and fetch from all unfinished batches."""
        pending = [batch_id for batch_id in self.journal.batches if self._is_pending(batch_id)]
        if not pending and not self.state.to_send():
            return
        self.client.find(FIRST_ANSWER_S)
        batches = [batch for batch_id in pending if (batch := self._resume(batch_id))]
        fresh = self.state.to_send()
        self.report.forecast = announce(self.client, len(fresh), self.order.by)
        if batches and batches[-1].status == "open":
            unseen = [photo for photo in fresh if photo.custom_id not in self.journal.entries]
            fresh = [photo for photo in fresh if photo.custom_id in self.journal.entries]
            self._send(unseen, batches[-1])
        for batch in batches:
            self._close(batch)
        if opened := self._send([*fresh, *self.replaced]):
            self._close(opened)
            batches.append(opened)
        for batch in batches:
            self._finish(batch)

    def _is_pending(self, batch_id: str) -> bool:
        """Whether the batch still needs work: it is open, or masks are missing, or failures are retried."""
        retried = self.order.retry_failed and self.state.failed(batch_id)
        return bool(not self.journal.batches[batch_id] or retried or self.state.waiting(batch_id))

    def _resume(self, batch_id: str) -> Batch | None:
        """A batch of an earlier run, its failures retried if ordered; None if the server no longer has it."""
        try:
            batch = self.client.batch(batch_id)
        except ProblemError as error:
            if error.status not in (404, 410):
                raise
            self.state.lost.add(batch_id)
            self.journal.add(closed=batch_id)
            return None
        self._retry(batch, self.state.failed(batch_id) if self.order.retry_failed else [])
        return batch

    def _retry(self, batch: Batch, failed: list[Photo]) -> None:
        """Run the failed photos again.

        The server removes their earlier outcomes from the results.
        """
        if failed:
            batch.retry()
            for photo in failed:
                self.journal.add(retried=photo.custom_id)

    def _send(self, photos: Iterable[Photo], batch: Batch | None = None) -> Batch | None:
        """Append the photos to the batch and return it.

        Without one, open it for the first readable photo.
        """
        chunks = self._chunks(photos)
        for first in chunks:
            batch = batch or self._open()
            requests = itertools.chain([first], chunks)
            for chunk, outcomes in in_parallel(partial(_append, batch), requests, self.order.concurrency):
                for (photo, _), outcome in zip(chunk, outcomes, strict=True):
                    self._note_sent(photo, outcome)
                self._collect(batch)
        return batch

    def _open(self) -> Batch:
        name = self.order.name or printable(self.order.source.resolve().name) or "folder"
        batch = self.client.open_batch(name, model=self.order.model, tags=self.order.tags)
        self.journal.add(batch=batch.id, url=self.order.url)
        return batch

    def _close(self, batch: Batch) -> None:
        if batch.status == "open":
            batch.close()
        if not self.journal.batches[batch.id]:
            self.journal.add(closed=batch.id)

    def _chunks(self, photos: Iterable[Photo]) -> Iterator[Chunk]:
        """Group the photos into requests. A photo that cannot be read is skipped and reported."""
        chunk: Chunk = []
        for photo in photos:
            try:
                content = read(photo.real)
            except Refused as reason:
                self.settled += 1
                self.state.skipped[photo.relative] = str(reason)
                del self.state.photos[photo.custom_id]
                continue
            if len(chunk) == CHUNK_FILES or sum(len(other) for _, other in chunk) + len(content) > CHUNK_BYTES:
                yield chunk
                chunk = []
            chunk.append((photo, content))
        if chunk:
            yield chunk

    def _note_sent(self, photo: Photo, outcome: AppendOutcome) -> None:
        if outcome.error and outcome.error["code"] == "custom_id_reused":
            self.replaced.append(photo)  # it changed after a killed run had sent it
            return
        if outcome.custom_id != photo.custom_id:
            self.state.failures[photo.custom_id] = "name_changed"  # its mask could not be identified
            return
        if outcome.error and outcome.error.get("retryable"):
            self.state.failures[photo.custom_id] = str(outcome.error["code"])
            return
        self.journal.add(uploaded=photo.custom_id, job_id=outcome.job_id, size=photo.size, mtime_ns=photo.mtime_ns)
        if outcome.error:
            self.journal.add(failed=photo.custom_id, code=str(outcome.error["code"]))
        self.report.uploaded += outcome.outcome == "accepted"

    def _finish(self, batch: Batch) -> None:
        ended = False
        while not ended:
            ended = batch.final  # checked before reading, so that the last read includes every image
            self._collect(batch)
            if not ended:
                batch.poll()
        if self.state.waiting(batch.id):
            self.cursors[batch.id] = 0  # if Redis lost its data meanwhile, the server has renumbered them
            self._collect(batch)

    def _collect(self, batch: Batch) -> None:
        """Fetch the masks that have finished so far."""
        for saved in in_parallel(self.fetch, self._newly_finished(batch), self.order.concurrency):
            self.settled += 1
            item, custom_id = saved.item, saved.photo.custom_id
            if saved.kept:
                self.state.kept.add(custom_id)
            elif saved.failure:
                self.state.failures[custom_id] = saved.failure
            elif item.result is None:
                self.journal.add(failed=custom_id, code=str((item.error or {}).get("code", item.status)))
            else:
                classes = {entry["name"]: entry["fraction"] for entry in item.result["classes"]}
                file = self.state.target(saved.photo)
                self.journal.add(done=custom_id, file=file, sha256=saved.digest, classes=classes)
                self.report.downloaded += 1
            self.show(self.settled, self.report.uploaded)
        self.show(self.settled, self.report.uploaded)

    def _newly_finished(self, batch: Batch) -> Iterator[tuple[Item, Photo]]:
        """The finished items whose masks have not been written yet."""
        early = self.early.pop(batch.id, [])
        for item in itertools.chain(early, batch.results(self.cursors.get(batch.id, 0))):
            self.cursors[batch.id] = max(item.cursor, self.cursors.get(batch.id, 0))
            photo = self.state.photos.get(item.custom_id)
            entry = self.state.entry(photo) if photo else None
            if photo and (entry is None or entry.batch != batch.id):
                self.early[batch.id].append(item)
            elif photo and item.final and item.custom_id not in self.state.kept and not self.state.has_mask(photo):
                yield item, photo


def _append(batch: Batch, chunk: Chunk) -> tuple[Chunk, list[AppendOutcome]]:
    return chunk, batch.append([(photo.custom_id, content) for photo, content in chunk])
