"""The commands for photos and jobs.

Exit codes: 0 all succeeded, 1 some did not, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from segue_client.client import Client
from segue_client.commands.entry import Entry, attempt, report_and_exit
from segue_client.commands.masks import STREAM, masks_for
from segue_client.commands.options import FormatOption, SuffixOption, TagOption
from segue_client.commands.output import JsonOption, say, show_json
from segue_client.commands.service import DEFAULT_URL, PANEL, KeyOption, UrlOption, exit_on_failure, service
from segue_client.commands.waiting import wait_until_ended
from segue_client.failures import local_problem
from segue_client.folder.walk import LARGEST_BYTES, Refused, check_content, read

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB", help="Ids, as `segue submit` prints them.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the masks; existing files are never overwritten. - for stdout."),
]
DAY_S = 24 * 3600.0
_ACCEPTED, _SUCCEEDED = attrgetter("accepted"), attrgetter("succeeded")

app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: segue submit cat.jpg dog.jpg --wait --out masks")
def submit(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Images; - reads one from stdin.")],
    *,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    priority: Annotated[
        Literal["interactive", "bulk"], typer.Option(help="bulk jobs run after interactive ones.")
    ] = "interactive",
    model: Annotated[str, typer.Option(help="Alias or version of the model.")] = "stable",
    deadline_s: Annotated[
        int | None, typer.Option("--deadline-s", min=1, help="Give up after this many seconds.")
    ] = None,
    tag: TagOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all jobs have ended.")] = False,
    out: OutOption = None,
    format: FormatOption = "index",  # noqa: A002 - the API's own word
    suffix: SuffixOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send photos and print one line per photo: id, status, name. --out waits and fetches the masks."""
    entries = [Entry(photo=str(photo)) for photo in photos]
    masks = masks_for(out, format, suffix, [entry.photo for entry in entries], as_json=as_json)
    waits = wait or masks is not None
    how: dict[str, Any] = {"as_json": as_json, "resume": _resume(url, out, format, suffix), "err": out == STREAM}
    is_ok = _SUCCEEDED if waits else _ACCEPTED
    with service(url, key) as client, report_and_exit(client, entries, is_ok, **how):
        for entry in entries:
            if masks is None or masks.claim(entry):
                _send(client, entry, priority=priority, model=model, deadline_s=deadline_s, tags=tag or ())
        if waits:
            wait_until_ended(client, entries, DAY_S, masks)


def _send(client: Client, entry: Entry, **options: Any) -> None:
    path = Path(entry.photo)
    try:
        content = check_content(sys.stdin.buffer.read(LARGEST_BYTES + 1)) if path == STREAM else read(path)
    except Refused as reason:
        entry.problem = local_problem("Not sent", str(reason))
        return
    name = "stdin" if path == STREAM else path.name
    attempt(entry, partial(client.submit, content, name=name, **options))


@app.command(rich_help_panel=PANEL, epilog="Example: segue status job_0197… --json")
def status(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Show jobs. Exit code 0: every job has its mask."""
    _each(jobs, "job", _SUCCEEDED, url, key, as_json=as_json)


@app.command("wait", rich_help_panel=PANEL, epilog="Example: segue wait job_0197… --timeout-s 600 --out masks")
def wait_for(
    jobs: JobsArgument,
    *,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0, help="Wait at most this many seconds.")] = DAY_S,
    out: OutOption = None,
    format: FormatOption = "index",  # noqa: A002
    suffix: SuffixOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Wait until jobs have ended. Exit code 0: every job has its mask."""
    entries = _entries(jobs)
    masks = masks_for(out, format, suffix, jobs, as_json=as_json)
    how: dict[str, Any] = {"as_json": as_json, "resume": _resume(url, out, format, suffix), "err": out == STREAM}
    with service(url, key) as client, report_and_exit(client, entries, _SUCCEEDED, **how):
        for entry in entries:
            attempt(entry, partial(client.job, entry.id))
        wait_until_ended(client, entries, timeout_s, masks)


@app.command(rich_help_panel=PANEL, epilog="Example: segue cancel job_0197…")
def cancel(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Cancel jobs. A running job ends before its worker's next stage."""
    _each(jobs, "cancel", _ACCEPTED, url, key, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: segue retry job_0197…")
def retry(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Run jobs again that ended without a mask. They keep their ids."""
    _each(jobs, "retry", _ACCEPTED, url, key, as_json=as_json)


@app.command("list", rich_help_panel=PANEL, epilog="Example: segue list --status failed --limit 500")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only jobs with this status.")] = None,
    batch: Annotated[str, typer.Option(help="Only jobs of this batch.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="List at most this many jobs.")] = 50,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List your jobs, the newest first. The list is a few seconds behind."""
    empty = {"object": "list", "data": []}
    with service(url, key) as client, exit_on_failure(client, empty, as_json=as_json):
        entries = [Entry(job=job) for job in client.jobs(status or "", batch, limit=limit)]
    if as_json:
        data = [entry.job.document for entry in entries if entry.job]
        show_json({"object": "list", "ok": True, "data": data, "error": None})
        return
    for entry in entries:
        say(entry.line())


@app.command(rich_help_panel=PANEL, epilog="Example: segue queue --json")
def queue(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Show the length of the queue and its throughput."""
    with service(url, key) as client, exit_on_failure(client, {"object": "error"}, as_json=as_json):
        state = client.queue()
    if as_json:
        show_json(state)
        return
    for name, lane in state["lanes"].items():
        oldest = f", the oldest for {lane['oldest_age_s']:.0f} s" if lane["oldest_age_s"] is not None else ""
        say(f"{name:12} {lane['pending']} waiting{oldest}, {lane['running']} running")
    backlog = f", {state['backlog_s']:.0f} s of work" if state["backlog_s"] is not None else ""
    say(f"{state['workers']} workers, {state['images_per_s']} images/s{backlog}")


def _each(
    jobs: list[str], call: Literal["job", "cancel", "retry"], is_ok: Callable[[Entry], bool], url: str, key: str, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Call one method of the client for each job."""
    entries = _entries(jobs)
    with service(url, key) as client, report_and_exit(client, entries, is_ok, as_json=as_json):
        for entry in entries:
            attempt(entry, partial(getattr(client, call), entry.id))


def _entries(jobs: list[str]) -> list[Entry]:
    return [Entry(id=job) for job in dict.fromkeys(jobs)]


def _resume(url: str, out: Path | None, format: str, suffix: str) -> list[str]:  # noqa: A002
    """The command that resumes the wait, without the key."""
    where = ["--url", url] if url != DEFAULT_URL else []
    masks = ["--out", str(out), "--format", format, *(["--suffix", suffix] if suffix else [])] if out else []
    return ["segue", "wait", *where, *masks]
