"""What is known of each photo: by the journal, by the masks that are there, and by this run."""

from collections import Counter
from pathlib import Path

from segue_client.folder.journal import Entry, Journal
from segue_client.folder.order import SUFFIXES, Order
from segue_client.folder.report import Report
from segue_client.folder.walk import Found, Photo


class State:
    def __init__(self, order: Order, journal: Journal, found: Found) -> None:
        self.order, self.journal = order, journal
        self.photos = {photo.custom_id: photo for photo in found.photos}
        self.skipped = dict(found.skipped)
        self.failures: dict[str, str] = {}  # this run's own, by custom_id: the next run tries them again
        self.lost: set[str] = set()  # batches that the server does not know any more

    def entry(self, photo: Photo) -> Entry | None:
        """What the journal says about the file as it is now."""
        entry = self.journal.entries.get(photo.custom_id)
        return entry if entry and (entry.size, entry.mtime_ns) == (photo.size, photo.mtime_ns) else None

    def target(self, photo: Photo) -> Path:
        return self.order.out / f"{photo.relative}{SUFFIXES[self.order.format]}"

    def has_mask(self, photo: Photo) -> bool:
        entry = self.entry(photo)
        return bool(entry and entry.classes is not None and self.target(photo).exists())

    def is_fresh(self, photo: Photo) -> bool:
        """Whether it is to be sent."""
        entry = self.entry(photo)
        if entry is None:
            return True
        if entry.failure:
            return self.order.retry_failed and (entry.job_id is None or entry.batch in self.lost)
        return entry.batch in self.lost and not self.has_mask(photo)

    def is_waiting(self, photo: Photo, batch_id: str) -> bool:
        entry = self.entry(photo)
        return bool(entry and entry.batch == batch_id and not entry.failure and not self.has_mask(photo))

    def is_failed(self, photo: Photo, batch_id: str) -> bool:
        entry = self.entry(photo)
        return bool(entry and entry.batch == batch_id and entry.failure and entry.job_id)

    def conclude(self, report: Report) -> None:
        """Counts what is there now, the masks of earlier runs among it."""
        totals, done = Counter[str](), 0
        for photo in self.photos.values():
            entry = self.entry(photo)
            if entry and entry.classes is not None and self.has_mask(photo):
                totals.update(entry.classes)
                done += 1
            elif code := self.failures.get(photo.custom_id) or (entry and entry.failure):
                report.failed.append({"file": photo.relative, "code": code})
        report.batches, report.succeeded = list(self.journal.batches), done
        report.candidates = len(self.photos) + len(self.skipped)
        report.unfinished = len(self.photos) - done - len(report.failed)
        report.skipped = [{"file": file, "reason": reason} for file, reason in self.skipped.items()]
        report.classes = {name: total / done for name, total in totals.items()}
