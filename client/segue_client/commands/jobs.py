"""Photos and jobs over the HTTP API. Exit codes: 0 all well, 1 not all, 2 usage, 130 stopped by Ctrl-C."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from segue_client.client import Client
from segue_client.commands.entry import Entry, attempt, refused, told
from segue_client.commands.masks import Masks
from segue_client.commands.output import JsonOption, show_json
from segue_client.commands.service import DEFAULT_URL, PANEL, KeyOption, UrlOption, service
from segue_client.commands.waiting import follow
from segue_client.folder.walk import Refused, read

Status = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB", help="Ids, as `segue submit` prints them.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for the masks, {photo}.png or .jpg; nothing is overwritten.")
]
FormatOption = Annotated[Literal["index", "overlay"], typer.Option(help="index: palette PNG; overlay: JPEG.")]
DAY_S = 24 * 3600.0
_ACCEPTED, _SUCCEEDED = attrgetter("accepted"), attrgetter("succeeded")

app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: segue submit cat.jpg dog.jpg --wait --out masks")
def submit(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="JPEG, PNG or WebP.")],
    *,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    priority: Annotated[
        Literal["interactive", "bulk"], typer.Option(help="bulk lets others go first.")
    ] = "interactive",
    model: Annotated[str, typer.Option(help="Alias or version of the model.")] = "stable",
    deadline_s: Annotated[
        int | None, typer.Option("--deadline-s", min=1, help="Seconds after which nobody wants it any more.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until all have ended.")] = False,
    out: OutOption = None,
    format: FormatOption = "index",  # noqa: A002 - the API's own word
    as_json: JsonOption = False,
) -> None:
    """Send photos; a line for each with its job's id and status. --out waits and fetches the masks."""
    entries, masks = [Entry(photo=str(photo)) for photo in photos], Masks(out, format) if out else None
    waits = wait or masks is not None
    well, resume = _SUCCEEDED if waits else _ACCEPTED, _resume(url, out, format)
    with service(url, key) as client, told(entries, well, as_json=as_json, url=url, resume=resume):
        for entry in entries:
            if masks is None or masks.claim(entry):
                _send(client, entry, priority=priority, model=model, deadline_s=deadline_s)
        if waits:
            follow(client, entries, DAY_S, masks)


def _send(client: Client, entry: Entry, **options: Any) -> None:
    path = Path(entry.photo)
    try:
        content = read(path)
    except Refused as reason:
        entry.problem = refused("Not sent", str(reason))
        return
    attempt(entry, partial(client.submit, content, name=path.name, **options))


@app.command(rich_help_panel=PANEL, epilog="Example: segue status job_0197… --json")
def status(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """How jobs are now. 0: all have their mask."""
    _each(jobs, "job", _SUCCEEDED, url, key, as_json=as_json)


@app.command("wait", rich_help_panel=PANEL, epilog="Example: segue wait job_0197… --timeout-s 600 --out masks")
def wait_for(
    jobs: JobsArgument,
    *,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0, help="Seconds to wait at most.")] = DAY_S,
    out: OutOption = None,
    format: FormatOption = "index",  # noqa: A002
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Until jobs have ended. 0: all have their mask."""
    entries, masks = _entries(jobs), Masks(out, format) if out else None
    resume = _resume(url, out, format)
    with service(url, key) as client, told(entries, _SUCCEEDED, as_json=as_json, url=url, resume=resume):
        for entry in entries:
            attempt(entry, partial(client.job, entry.id))
        follow(client, entries, timeout_s, masks)


@app.command(rich_help_panel=PANEL, epilog="Example: segue cancel job_0197…")
def cancel(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """End jobs without a mask; one that a worker has ends before its next stage."""
    _each(jobs, "cancel", _ACCEPTED, url, key, as_json=as_json)


@app.command(rich_help_panel=PANEL, epilog="Example: segue retry job_0197…")
def retry(jobs: JobsArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Another attempt for jobs that ended without a mask, under the same ids."""
    _each(jobs, "retry", _ACCEPTED, url, key, as_json=as_json)


@app.command("list", rich_help_panel=PANEL, epilog="Example: segue list --status failed --limit 500")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only these.")] = None,
    batch: Annotated[str, typer.Option(help="Only those of this batch.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, over as many pages as that takes.")] = 50,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Your jobs, the newest first, seconds behind."""
    with service(url, key) as client:
        entries = [Entry(job=job) for job in client.jobs(status or "", batch, limit=limit)]
    if as_json:
        show_json({"object": "list", "data": [entry.job.document for entry in entries if entry.job]})
        return
    for entry in entries:
        typer.echo(entry.line())


@app.command(rich_help_panel=PANEL, epilog="Example: segue queue --json")
def queue(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """How long the queue is and how fast it moves."""
    with service(url, key) as client:
        state = client.queue()
    if as_json:
        show_json(state)
        return
    for name, lane in state["lanes"].items():
        oldest = f", the oldest for {lane['oldest_age_s']:.0f} s" if lane["oldest_age_s"] is not None else ""
        typer.echo(f"{name:12} {lane['pending']} waiting{oldest}, {lane['running']} running")
    backlog = f", {state['backlog_s']:.0f} s of work" if state["backlog_s"] is not None else ""
    typer.echo(f"{state['workers']} workers, {state['images_per_s']} images/s{backlog}")


def _each(
    jobs: list[str], call: Literal["job", "cancel", "retry"], well: Callable[[Entry], bool], url: str, key: str, *,
    as_json: bool,
) -> None:  # fmt: skip
    """One call of the client for each job."""
    entries = _entries(jobs)
    with service(url, key) as client, told(entries, well, as_json=as_json, url=url):
        for entry in entries:
            attempt(entry, partial(getattr(client, call), entry.id))


def _entries(jobs: list[str]) -> list[Entry]:
    return [Entry(id=job) for job in dict.fromkeys(jobs)]


def _resume(url: str, out: Path | None, format: str) -> list[str]:  # noqa: A002
    """The command that goes on waiting; the key stays out of sight."""
    where = ["--url", url] if url != DEFAULT_URL else []
    masks = ["--out", str(out), "--format", format] if out else []
    return ["segue", "wait", *where, *masks]
