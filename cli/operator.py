"""Setting an installation up, examining it, and following one job through it."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import JsonOption, fail, show_json

PANEL = "Operator"
WEIGHTS = Path(__file__).parent.parent / "model" / "weights"

app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: segue setup")
def setup(
    weights: Annotated[Path, typer.Option(help="Folder of name/version folders to publish.")] = WEIGHTS,
) -> None:
    """Make tables and buckets, load Redis' functions, publish the shipped model, bring back what Redis may have lost.

    Safe to repeat.
    """
    from storage.model_files import ModelError
    from storage.queue import functions
    from storage.records.audit_event import Action
    from storage.roles import sql_users
    from storage.roles.minio_users import make_users
    from worker.housekeeping.sweeps import adopt_after_loss

    with connected() as storage:
        storage.database.migrate()
        storage.objects.make_buckets()
        functions.load(storage.jobs.client)
        if storage.settings.s3_users:
            make_users(storage.settings)
        if storage.settings.sql_users:
            sql_users.make_users(storage.database, storage.settings)
        for card in sorted(weights.glob("*/*/card.json")):
            try:
                name = storage.models.publish(card.parent)
                typer.echo(f"published model {name}")
            except ModelError as error:
                typer.echo(f"not published: {error}", err=True)
        adopt_after_loss(storage)
        audit(storage, operated(Action.SETUP))


@app.command(rich_help_panel=PANEL, epilog="Example: segue roles secrets", hidden=True)
def roles(
    folder: Annotated[Path, typer.Argument(help="Secrets that lie there already are kept.")],
) -> None:
    """Write secrets, Redis' ACL file and each role's settings into FOLDER, for docker-compose.yml."""
    from storage.roles import credentials

    try:
        credentials.write_for_containers(folder)
    except OSError as error:
        fail(f"not written: {error}")
    typer.echo(f"written to {folder}")


@app.command(rich_help_panel=PANEL, epilog="Example: segue doctor --repair")
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be put right.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine Redis, the object store, models and workers, and whether jobs and objects agree. 0: all well."""
    from worker import doctor

    with connected() as storage:
        if repair:
            doctor.repair(storage)
        findings = list(doctor.examine(storage))
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok' if finding.ok else '!!'}  {finding.what}: {finding.detail}")
    raise typer.Exit(not all(finding.ok for finding in findings))


@app.command(rich_help_panel=PANEL, epilog="Example: segue trace job_0197… --json")
def trace(job: str, as_json: JsonOption = False) -> None:
    """One job's story: when it came, who took it, what became of it. 0: known, 1: nobody knows it."""
    from storage.records.audit_event import Action
    from worker import trace

    with connected() as storage:
        story = trace.trace(storage, job)
        if story:
            audit(storage, operated(Action.JOB_READ, job, story.tenant))
    if story is None:
        fail(f"nobody knows {job}")
    if as_json:
        show_json(asdict(story))
        return
    typer.echo(f"{story.job_id} of {story.tenant}: {story.status} (from {', '.join(story.sources)})")
    for silent in story.silent:
        typer.echo(f"!!  the {silent} did not answer: this may not be all")
    for event in story.events:
        at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
        typer.echo(f"{at.removesuffix('+00:00')}  {event.what}")
