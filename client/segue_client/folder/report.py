"""The progress and the report of a run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from segue_client.failures import one_line
from segue_client.terminal import throttled


@dataclass
class Report:
    """Each photo counts in exactly one of succeeded, failed, unfinished, kept and skipped."""

    batches: list[str] = field(default_factory=list)
    photos: int = 0  # also those that could not be sent
    succeeded: int = 0
    uploaded: int = 0  # by this run
    downloaded: int = 0  # by this run
    seconds: float = 0
    classes: dict[str, float] = field(default_factory=dict)  # mean fraction over the masks
    failed: list[dict[str, str]] = field(default_factory=list)
    unfinished: list[dict[str, str]] = field(default_factory=list)
    kept: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    ignored: list[dict[str, str]] = field(default_factory=list)  # files that are not meant to be photos
    forecast: dict[str, Any] | None = None  # made at the start, if a time was given
    interrupted: bool = False
    error: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        return self.error is None and self.succeeded == self.photos > 0

    def document(self) -> dict[str, Any]:
        return {"object": "folder", "ok": self.ok, **asdict(self)}

    def lines(self) -> Iterator[str]:
        for word, listed in self._lists().items():
            for entry in listed:
                yield f"{word:<10} {entry['file']}: {entry.get('reason') or entry['code']}"
        for name, fraction in sorted(self.classes.items()):
            yield f"{name:<12} {fraction:6.1%} of the pixels, mean over {self.succeeded} masks"
        numbers = ", ".join(f"{len(listed)} {word}" for word, listed in self._lists().items() if word != "ignored")
        yield (
            f"{self.photos} photos: {self.succeeded} masks, {numbers}; {len(self.ignored)} other files ignored. "
            f"This run: {self.uploaded} uploaded, {self.downloaded} downloaded, {self.seconds:.1f} s"
        )
        if self.error:
            yield one_line(self.error)
        if self.unfinished:
            yield "Run the same command again to continue."

    def _lists(self) -> dict[str, list[dict[str, str]]]:
        return {
            "ignored": self.ignored, "skipped": self.skipped, "kept": self.kept, "failed": self.failed,
            "unfinished": self.unfinished,
        }  # fmt: skip


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """Yield `show(settled, uploaded)`, which updates a bar on a terminal, or prints a line every few seconds."""
    if not sys.stderr.isatty():
        say = throttled()
        yield lambda settled, uploaded: say(f"{uploaded} uploaded, {settled} of {total} done")
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sending", total=total)

        def show(settled: int, uploaded: int) -> None:
            bar.update(task, completed=settled, description=f"{uploaded} uploaded")

        yield show
