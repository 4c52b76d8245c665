"""Runs of the learning loop: follow them, cancel them."""

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.server import audit, connected, operated, shell_user
from segue_client.commands.output import JsonOption, fail, say, show_json

if TYPE_CHECKING:
    from storage.connection import Storage
    from storage.training.runs import Kind, Run, Spec

POLL_S, PATIENCE_S = 1.0, 30.0

WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until the run and those that follow have ended.")]

app = typer.Typer(no_args_is_help=True, help="Runs of the learning loop: scores, builds, trainings, gates.")


@app.command("list", epilog="Example: segue runs list --json")
def list_(as_json: JsonOption = False) -> None:
    """List all runs, the newest first."""
    with connected() as storage:
        found = list(storage.runs.newest_first())
    if as_json:
        show_json([document(run) for run in found])
        return
    for run in found:
        say(f"{run.spec.id}  {run.spec.kind:6} {run.status:10} {about(run)}")


@app.command(epilog="Example: segue runs show run_0197…")
def show(run: str) -> None:
    """Print a run: its parameters, its progress, how it ended."""
    with connected() as storage:
        found = storage.runs.find(run) or fail(f"unknown run: {run}")
    show_json(document(found))


@app.command(epilog="Example: segue runs log run_0197…")
def log(run: str) -> None:
    """Print the log of a training: one line per epoch."""
    from storage.training.runs import LOG

    with connected() as storage:
        found = storage.runs.find(run) or fail(f"unknown run: {run}")
        content = storage.runs.get(found.spec.id, LOG)
    typer.echo((content or fail(f"{run} has no log yet")).decode(), nl=False)


@app.command(epilog="Example: segue runs cancel run_0197…")
def cancel(run: str) -> None:
    """Cancel a run. Its trainer stops between two batches or photos."""
    from storage.records.audit_event import Action

    with connected() as storage:
        found = storage.runs.find(run) or fail(f"unknown run: {run}")
        if found.outcome:
            fail(f"{run} has ended: {found.status}")
        storage.runs.cancel(run)
        storage.tickets.train()
        audit(storage, operated(Action.RUN_CANCELED, run))
    typer.echo(f"{run} is asked to end")


def submit(
    storage: "Storage", kind: "Kind", parameters: dict[str, Any], *,
    then: tuple[tuple[str, dict[str, Any]], ...] = (), elsewhere: bool = False,
) -> "Spec":  # fmt: skip
    """Submit a run as the user of this shell. A refusal prints one line and exits."""
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.training import submitting
    from storage.training.datasets import DatasetError

    try:
        spec = submitting.submit(storage, kind, parameters, shell_user(), then=then, elsewhere=elsewhere)
    except Problem as problem:
        fail(problem.detail)
    except DatasetError as error:
        fail(str(error))
    audit(storage, operated(Action.RUN_SUBMITTED, spec.id, spec.kind))
    return spec


def announce(storage: "Storage", spec: "Spec", wait: bool) -> None:
    """Print the run's id; with `wait`, follow it. Exit code 1 if it, or a run that follows, does not succeed."""
    say(f"{spec.id}  {spec.kind}  {_asked(spec)}")
    run_id = spec.id
    while wait and run_id:
        run_id = _follow(storage, run_id)


def _follow(storage: "Storage", run_id: str) -> str:
    """Wait for the end of a run. Returns the id of the run that follows, or ""."""
    from storage.training.runs import Status

    shown, since = "", time.monotonic()
    while True:
        run = storage.runs.find(run_id) or fail(f"unknown run: {run_id}")
        if (line := f"{run.spec.kind:6} {run.status:10} {about(run)}") != shown:
            say(line)
            shown = line
        if run.status is Status.QUEUED and time.monotonic() - since > PATIENCE_S:
            since = math.inf
            say("no trainer has taken the run yet: is one running? See docs/teach-it.md", err=True)
        if run.outcome:
            break
        time.sleep(POLL_S)
    if run.status is not Status.SUCCEEDED:
        raise typer.Exit(1)
    if reason := run.outcome.result.get("not_followed"):
        fail(f"the next run was not submitted: {reason}")
    return str(run.outcome.result.get("next", ""))


def document(run: "Run") -> dict[str, Any]:
    return {**asdict(run.spec), "status": run.status, "progress": asdict(run.progress),
            "outcome": asdict(run.outcome) if run.outcome else None}  # fmt: skip


def about(run: "Run") -> str:
    """What the run has made, why it did not succeed, or how far it is."""
    if run.outcome is None:
        done = f" {run.progress.done}/{run.progress.total}" if run.progress.total else ""
        return f"{_asked(run.spec)}  {run.progress.stage}{done}"
    result = run.outcome.result
    if verdict := result.get("verdict"):
        return f"{result['candidate']}: {verdict['outcome']}"
    made = ", ".join(f"{name} {value}" for name, value in result.items() if name != "next")
    return run.outcome.reason or made


def _asked(spec: "Spec") -> str:
    parameters = spec.parameters
    return str(parameters.get("candidate") or parameters.get("dataset") or "")
