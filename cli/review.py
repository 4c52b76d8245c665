"""The review inbox: photos whose senders consented to training."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.server import audit, connected, operated, shell_user
from segue_client.commands.output import JsonOption, fail, say, show_json

if TYPE_CHECKING:
    from storage.connection import Storage
    from storage.training.reviews import Review, State

StateOption = Annotated[str, typer.Option("--state", help="waiting, accepted or rejected.")]
NoteOption = Annotated[str, typer.Option("--note", help="A remark on the decision.")]
LimitOption = Annotated[int, typer.Option("--limit", help="At most this many.", min=1, max=100_000)]

app = typer.Typer(no_args_is_help=True, help="The review inbox: list, accept, reject or correct photos for training.")


@app.command("list", epilog="Example: segue review list --state accepted")
def list_(state: StateOption = "waiting", limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List reviews, the highest priority first. The list lags by seconds."""
    wanted = _state(state)
    with connected() as storage:
        rows, _ = storage.reviews.page(wanted, limit, None)
    if as_json:
        show_json(rows)
        return
    for row in rows:
        parts = " ".join(f"{name}={value:.2f}" for name, value in (row["scores"] or {}).items() if value is not None)
        say(f"{row['job_id']}  {row['priority']:.2f}  {row['verdict']:9} {row['model']:16} {row['decided_by']} {parts}")


@app.command(epilog="Example: segue review show job_0197…")
def show(job: str) -> None:
    """Print a review: the consent, the scores, the decision."""
    with connected() as storage:
        review = _find(storage, job)
    show_json(asdict(review))


@app.command(epilog="Example: segue review score")
def score(limit: LimitOption = 1000) -> None:
    """Compute the priority of new reviews. Each mask's model version runs again, on this machine."""
    from learning.review.scores import score_waiting

    with connected() as storage:
        done = score_waiting(storage, storage.settings.model_cache, limit)
    say(f"scored {done}")


@app.command(epilog="Example: segue review accept job_0197… --mask corrected.png")
def accept(
    job: str,
    mask: Annotated[
        Path | None, typer.Option(help="Corrected mask; default: the sender's or else the model's.")
    ] = None,
    note: NoteOption = "",
) -> None:
    """Accept a photo and its mask for training."""
    from storage.photos.class_ids import corrected
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.training import decisions
    from storage.training.reviews import Source

    with connected() as storage:
        review = _find(storage, job)
        try:
            if mask is None:
                chosen = decisions.stored_mask(storage.objects, storage.jobs, review)
                ids, source = chosen.grey(), chosen.source
            else:
                subject, source = decisions.subject_of(storage.objects, storage.jobs, review), Source.REVIEWER
                ids = corrected(mask.read_bytes(), subject.size, subject.labels, storage.settings)
            decisions.accept(storage.objects, storage.jobs, review, mask=ids, source=source, by=_actor(), note=note)
        except (Problem, OSError) as error:
            fail(f"not accepted: {error.detail if isinstance(error, Problem) else error}")
        audit(storage, operated(Action.REVIEW_ACCEPTED, job, review.tenant))
    say(f"accepted {job} with the mask of the {source}")


@app.command(epilog="Example: segue review reject job_0197… --note blurred")
def reject(job: str, note: NoteOption = "") -> None:
    """Reject a photo. If it was accepted, remove its copies, except those in data set versions."""
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.training import decisions

    with connected() as storage:
        review = _find(storage, job)
        try:
            decisions.reject(storage.objects, storage.jobs, review, by=_actor(), note=note)
        except Problem as problem:
            fail(f"not rejected: {problem.detail}")
        audit(storage, operated(Action.REVIEW_REJECTED, job, review.tenant))
    say(f"rejected {job}")


@app.command(epilog="Example: segue review export to-label --limit 200")
def export(
    folder: Annotated[Path, typer.Argument(help="New or existing folder.")],
    state: StateOption = "waiting",
    limit: LimitOption = 200,
) -> None:
    """Write photos, masks, labels.json and COCO annotations for label tools, the highest priority first.

    Exit code 1: some were left out; a line for each gives the reason.
    """
    from learning.review import files
    from storage.records.audit_event import Action
    from storage.training import reviews

    wanted, left_out = _state(state), 0
    with connected() as storage:
        rows, _ = storage.reviews.page(wanted, limit, None)
        found = (reviews.load(storage.objects, row["tenant"], row["job_id"]) for row in rows)
        try:
            for result in files.export(storage, filter(None, found), folder):
                if result.reason:
                    say(f"{result.name}: {result.reason}", err=True)
                    left_out += 1
                else:
                    audit(storage, operated(Action.JOB_READ, result.job_id, result.tenant))
        except OSError as error:
            fail(f"not written: {error}")
    say(f"exported {len(rows) - left_out} to {folder}")
    raise typer.Exit(left_out > 0)


@app.command("import", epilog="Example: segue review import corrected.json --format coco")
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder or file.")],
    format_: Annotated[str, typer.Option("--format", help="png, coco, voc or labelstudio.")] = "png",
) -> None:
    """Accept corrected masks. Each photo's name must contain its job's id, as `segue review export` names it.

    Exit code 1: some were left out; a line for each gives the reason.
    """
    from learning.review import files
    from learning.review.entries import Unusable
    from storage.records.audit_event import Action

    if format_ not in files.FORMATS:
        raise typer.BadParameter(f"the formats are {', '.join(files.FORMATS)}")
    accepted = left_out = 0
    with connected() as storage:
        try:
            for result in files.accept_all(storage, path, format_, _actor()):
                if result.reason:
                    say(f"{result.name}: {result.reason}", err=True)
                    left_out += 1
                else:
                    audit(storage, operated(Action.REVIEW_ACCEPTED, result.job_id, result.tenant))
                    accepted += 1
        except Unusable as error:
            fail(f"not imported: {error}")
    say(f"accepted {accepted}, left out {left_out}")
    raise typer.Exit(left_out > 0)


def _find(storage: "Storage", job_id: str) -> "Review":
    from storage.training import reviews

    owners = {folder.owner[1]: folder.owner for folder in reviews.folders(storage.objects)}
    review = reviews.load(storage.objects, *owners[job_id]) if job_id in owners else None
    return review or fail(f"{job_id} is not in the review inbox")


def _state(text: str) -> "State":
    from storage.training.reviews import State

    if text not in list(State):
        raise typer.BadParameter(f"the states are {', '.join(State)}")
    return State(text)


def _actor() -> str:
    return f"operator ({shell_user()})"
