"""The photos or jobs of one command line, and what became of each."""

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

NOT_ITS_FAULT = (401, 403, 408, 429, 502, 503, 504)  # the next one would not fare better


@dataclass
class Entry:
    """`id` or `photo` as it was given. `problem`: why there is no job, or no mask of it."""

    id: str = ""
    photo: str = ""
    job: Job | None = None
    problem: dict[str, Any] | None = None
    mask: Path | None = None
    target: Path | None = None  # where its mask shall go
    settled: bool = False  # waited for to the end

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
        """Id and status come first, so that a shell finds them."""
        job, reason = self.job, self.problem or (self.job.error if self.job else None)
        named = self.photo or (job.input.get("filename", "") if job else "")
        told = [job.id if job else self.id or "-", job.status if job else "refused", named]
        target = f" → {self.mask}" if self.mask else ""
        return "  ".join(filter(None, told)) + target + (f": {one_line(reason)}" if reason else "")


def attempt(entry: Entry, call: Callable[[], Job]) -> None:
    """What `call` answers, or why not. Raises ProblemError only where the next entry would not fare better."""
    try:
        entry.job = call()
    except ProblemError as error:
        if error.status in NOT_ITS_FAULT:
            raise
        entry.problem = error.document


@contextmanager
def told(
    client: Client, entries: Sequence[Entry], well: Callable[[Entry], bool], *, as_json: bool,
    resume: Sequence[str] = (), err: bool = False,
) -> Iterator[None]:  # fmt: skip
    """Prints what became of them, however the block ends, and ends the command: 0 when all are `well`.

    `resume`: the command that waits for those that are under way; `err`: stdout belongs to the mask.
    """
    error, code = None, FAILED
    try:
        client.find(PATIENCE_S)
        yield
    except FAILURES as failure:
        error, code = explained(failure), exit_code(failure)
    ok = error is None and all(map(well, entries))
    _show(entries, ok, error, as_json=as_json, err=err)
    if error:
        say(one_line(error), err=True)
        _say_how_to_go_on(entries, resume)
    raise typer.Exit(0 if ok else code)


def _show(entries: Sequence[Entry], ok: bool, error: dict[str, Any] | None, *, as_json: bool, err: bool) -> None:
    if as_json:
        show_json({"object": "list", "ok": ok, "data": [entry.document() for entry in entries], "error": error})
        return
    for entry in entries:
        if entry.job or entry.problem:
            say(entry.line(), err=err)


def _say_how_to_go_on(entries: Sequence[Entry], resume: Sequence[str]) -> None:
    going = [entry.job.id for entry in entries if entry.job and entry.accepted and not entry.settled]
    if untouched := [entry.photo for entry in entries if entry.photo and not entry.job and not entry.problem]:
        say(f"not sent: {len(untouched)} of {len(entries)} photos", err=True)
    if going and resume:
        say(f"the service goes on with {len(going)}; to wait for them: {shlex.join([*resume, *going])}", err=True)
