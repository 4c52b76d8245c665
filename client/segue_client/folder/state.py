"""The state of each photo, from the journal, the existing masks and this run."""

from collections import Counter
from collections.abc import Iterable

from segue_client.folder.files import Output
from segue_client.folder.journal import Journal, PhotoState
from segue_client.folder.naming import targets
from segue_client.folder.order import Order
from segue_client.folder.report import Report
from segue_client.folder.walk import Found, Photo

KEPT = "its file in OUT was not written by this command, or was changed since; replace it with --overwrite"


class State:
    def __init__(self, order: Order, journal: Journal, found: Found) -> None:
        self.order, self.journal, self.output = order, journal, Output(order.out)
        self.photos = {photo.custom_id: photo for photo in found.photos}
        self.skipped = dict(found.skipped)
        self.failures: dict[str, str] = {}  # custom_id → code, of this run only: the next one retries them
        self.kept: set[str] = set()  # custom_ids of masks that would replace another program's file
        self.lost: set[str] = set()  # ids of batches that the server no longer has
        self._targets = targets(found.photos, order.suffix)

    def entry(self, photo: Photo) -> PhotoState | None:
        """The journal's entry for the photo; None if the file was not sent or has changed since."""
        entry = self.journal.entries.get(photo.custom_id)
        return entry if entry and (entry.size, entry.mtime_ns) == (photo.size, photo.mtime_ns) else None

    def target(self, photo: Photo) -> str:
        """The path of the photo's mask, relative to OUT."""
        return self._targets[photo.custom_id]

    def has_mask(self, photo: Photo) -> bool:
        entry, target = self.entry(photo), self.target(photo)
        if entry is None or target not in entry.masks:
            return False
        if self.order.overwrite:
            return self.output.digest(target) == entry.masks[target]
        return self.output.exists(target)

    def write(self, photo: Photo, content: bytes) -> None:
        """Write the photo's mask. Raises KeptError, OSError."""
        target = self.target(photo)
        self.output.write(target, content, self.journal.written.get(target), overwrite=self.order.overwrite)

    def to_send(self) -> list[Photo]:
        """The photos to send.

        A photo whose mask could not be written is added to `kept` instead.
        """
        fresh = [photo for photo in self.photos.values() if self._is_fresh(photo)]
        self.kept |= {photo.custom_id for photo in fresh if self._is_in_the_way(self.target(photo))}
        return [photo for photo in fresh if photo.custom_id not in self.kept]

    def _is_fresh(self, photo: Photo) -> bool:
        """Whether the photo must be sent, for the first time or again."""
        entry = self.entry(photo)
        if entry is None:
            return True
        if entry.failure:
            return self.order.retry_failed and (entry.job_id is None or entry.batch in self.lost)
        return entry.batch in self.lost and not self.has_mask(photo)

    def _is_in_the_way(self, target: str) -> bool:
        if self.order.overwrite or not self.output.is_taken(target):
            return False
        known = self.journal.written.get(target)
        return known is None or self.output.digest(target) != known

    def waiting(self, batch_id: str) -> list[Photo]:
        """Photos of this batch that have neither failed nor a mask."""
        return [photo for photo, entry in self._of(batch_id) if not entry.failure and not self.has_mask(photo)]

    def failed(self, batch_id: str) -> list[Photo]:
        """Photos whose jobs in this batch failed."""
        return [photo for photo, entry in self._of(batch_id) if entry.failure and entry.job_id]

    def _of(self, batch_id: str) -> Iterable[tuple[Photo, PhotoState]]:
        for photo in self.photos.values():
            entry = self.entry(photo)
            if entry and entry.batch == batch_id:
                yield photo, entry

    def conclude(self, report: Report) -> None:
        """Fill in the report from the present state, including masks of earlier runs."""
        totals, done = Counter[str](), 0
        for photo in self.photos.values():
            entry = self.entry(photo)
            if entry and self.has_mask(photo):
                totals.update(entry.classes)
                done += 1
            elif photo.custom_id in self.kept:
                report.kept.append({"file": photo.relative, "reason": KEPT})
            elif code := self.failures.get(photo.custom_id) or (entry and entry.failure):
                report.failed.append({"file": photo.relative, "code": code})
            else:
                report.unfinished.append({"file": photo.relative, "reason": "sent" if entry else "not sent"})
        report.batches, report.succeeded = list(self.journal.batches), done
        report.photos = len(self.photos) + len(self.skipped)
        report.skipped = [{"file": file, "reason": reason} for file, reason in self.skipped.items()]
        report.classes = {name: total / done for name, total in totals.items()}
