"""The photos or jobs of one command line, each with its outcome."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from segue_client.client import Client
from segue_client.commands.output import FAILED, say, show_json
from segue_client.commands.service import PATIENCE_S, exit_code
from segue_client.documents import Job, ProblemError
from segue_client.failures import FAILURES, explained, one_line

AFFECTS_ALL = (401, 403, 408, 429, 502, 503, 504)  # statuses that the next entry would meet too


@dataclass
class Entry:
    """`id` or `photo`: the argument on the command line.

    `problem`: why it has no job or no mask.
    """

    id: str = ""
    photo: str = ""
    job: Job | None = None
    problem: dict[str, Any] | None = None
    mask: Path | None = None
    target: Path | None = None  # the file for its mask
    settled: bool = False  # nothing is left to wait for

    @property
    def accepted(self) -> bool:
        return self.job is not None and self.problem is None

    @property
    def succeeded(self) -> bool:
        return self.accepted and self.job is not None and self.job.status == "succeeded"

    def document(self) -> dict[str, Any]:
        return {
            "id": self.job.id if self.job else self.id or None,
            "photo": self.photo or None,
            "job": self.job.document if self.job else None,
            "problem": self.problem,
            "mask": str(self.mask) if self.mask else None,
        }

    def line(self) -> str:
        """One line of text. The id and the status come first, so that a shell can cut them out."""
        job, reason = self.job, self.problem or (self.job.error if self.job else None)
        named = self.photo or (job.input.get("filename", "") if job else "")
        columns = [job.id if job else self.id or "-", job.status if job else "refused", named]
        target = f" → {self.mask}" if self.mask else ""
        return "  ".join(filter(None, columns)) + target + (f": {one_line(reason)}" if reason else "")


def attempt(entry: Entry, call: Callable[[], Job]) -> None:
    """Store the job that `call` returns, or its problem, in the entry.

    Raises ProblemError only if the next entry would fail in the same way.
    """
    try:
        entry.job = call()
    except ProblemError as error:
        if error.status in AFFECTS_ALL:
            raise
        entry.problem = error.document


@contextmanager
def report_and_exit(
    client: Client, entries: Sequence[Entry], is_ok: Callable[[Entry], bool], *, as_json: bool,
    resume: Sequence[str] = (), err: bool = False,
) -> Iterator[None]:  # fmt: skip
    """After the block, print all entries and exit, with 0 if the block succeeded and all are `is_ok`.

    Does so for a block that fails with one of FAILURES, too. `resume`: the command that waits for the
    jobs that have not ended; `err`: print to stderr, because stdout carries a mask.
    """
    error, code = None, FAILED
    try:
        client.find(PATIENCE_S)
        yield
    except FAILURES as failure:
        error, code = explained(failure), exit_code(failure)
    ok = error is None and all(map(is_ok, entries))
    _show(entries, ok, error, as_json=as_json, err=err)
    if error:
        say(one_line(error), err=True)
        _say_how_to_continue(entries, resume)
    raise typer.Exit(0 if ok else code)


def _show(entries: Sequence[Entry], ok: bool, error: dict[str, Any] | None, *, as_json: bool, err: bool) -> None:
    if as_json:
        show_json({"object": "list", "ok": ok, "data": [entry.document() for entry in entries], "error": error})
        return
    for entry in entries:
        if entry.job or entry.problem:
            say(entry.line(), err=err)


def _say_how_to_continue(entries: Sequence[Entry], resume: Sequence[str]) -> None:
    open_jobs = [entry.job.id for entry in entries if entry.job and entry.accepted and not entry.settled]
    if unsent := [entry.photo for entry in entries if entry.photo and not entry.job and not entry.problem]:
        say(f"not sent: {len(unsent)} of {len(entries)} photos", err=True)
    if open_jobs and resume:
        command = shlex.join([*resume, *open_jobs])
        say(f"{len(open_jobs)} jobs continue on the server; to wait for them: {command}", err=True)
