"""Waits until jobs have ended, and shows their progress and the server's estimate."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from segue_client.client import Client
from segue_client.commands.entry import Entry
from segue_client.commands.masks import Masks
from segue_client.commands.service import WAITING_PATIENCE_S
from segue_client.documents import Job, ProblemError
from segue_client.terminal import printable, throttled

ASK_EVERY_S = 2


def wait_until_ended(client: Client, entries: Sequence[Entry], timeout_s: float, masks: Masks | None) -> None:
    """Wait until every entry's job has ended, and save each mask if `masks` is given.

    Raises TimeoutError.
    """
    client.timeout_s = WAITING_PATIENCE_S
    waiting = {entry.job.id: entry for entry in entries if entry.job and entry.accepted}
    under_way, outlook = [entry.job for entry in waiting.values() if entry.job], _Outlook(client)
    with _progress(len(under_way)) as show:
        for job in client.watch(under_way, timeout_s):
            entry = waiting[job.id]
            _update(client, entry, job, masks)
            if entry.settled:
                del waiting[job.id]
            show(len(under_way) - len(waiting), outlook.text(waiting))


def _update(client: Client, entry: Entry, job: Job, masks: Masks | None) -> None:
    entry.job = job
    if job.error and not job.final:
        entry.problem = job.error  # erased meanwhile
    if masks and entry.succeeded:
        masks.save(client, entry, job)
    entry.settled = job.final or entry.problem is not None


class _Outlook:
    """The server's estimate for the last job, requested every ASK_EVERY_S.

    It is the estimate for all.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._asked_at, self._text = client, 0.0, ""

    def text(self, waiting: Collection[str]) -> str:
        """`waiting`: ids of the jobs that have not ended, in the order of submission."""
        if waiting and time.monotonic() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = time.monotonic()
            try:
                self._text = _outlook(self._client.job(list(waiting)[-1]).queue)
            except ProblemError:
                self._text = ""
        return self._text


def _outlook(queue: dict[str, Any] | None) -> str:
    if not queue:
        return ""
    if queue.get("eta_s") is not None:
        return f"about {max(1, round(queue['eta_s']))} s left"
    reason, pause = str(queue.get("waiting_reason") or "").replace("_", " "), queue.get("pause_reason")
    return f"{reason}: {pause}" if pause else reason


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield `show(done, outlook)`, which updates a bar on a terminal, or prints a line every few seconds."""
    if not sys.stderr.isatty():
        say = throttled()
        yield lambda done, outlook: say(", ".join(filter(None, [f"{done} of {total} done", outlook])))
        return
    columns = [TextColumn("waiting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(done: int, outlook: str) -> None:
            bar.update(task, completed=done, description=printable(outlook))

        yield show
