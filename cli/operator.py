"""Sets up an installation, examines it, and shows the history of one job."""

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
    """Create tables and buckets, load the functions into Redis, publish the shipped model, and rebuild lost jobs.

    Jobs are rebuilt if Redis has lost data. Safe to repeat.
    """
    from storage.model_files import ModelError
    from storage.queue import functions
    from storage.records import schema
    from storage.records.audit_event import Action
    from storage.roles import sql_users
    from storage.roles.minio_users import make_users
    from worker.housekeeping.sweeps import adopt_after_loss

    with connected() as storage:
        schema.migrate(storage.database)
        storage.objects.make_buckets()
        functions.load(storage.jobs.client)
        if storage.settings.s3_users:
            make_users(storage.settings)
        if storage.settings.sql_users:
            sql_users.make_users(storage.database, storage.settings)
        for card in _newest_first(weights):
            try:
                name = storage.models.publish(card.parent)
                typer.echo(f"published model {name}")
            except ModelError as error:
                typer.echo(f"not published: {error}", err=True)
        adopt_after_loss(storage)
        audit(storage, operated(Action.SETUP))


def _newest_first(weights: Path) -> list[Path]:
    """The cards of the shipped versions: the first one published becomes `stable` in a new installation."""
    cards = list(weights.glob("*/*/card.json"))
    return sorted(cards, key=lambda card: (len(card.parent.name), card.parent.name), reverse=True)


@app.command(rich_help_panel=PANEL, epilog="Example: segue roles secrets", hidden=True)
def roles(
    folder: Annotated[Path, typer.Argument(help="Folder to write to. Existing secrets in it are kept.")],
    redis: Annotated[str, typer.Option(help="Address of Redis, without a user.")] = "redis://redis:6379/0",
    sql: Annotated[
        str, typer.Option(help="Address of PostgreSQL, without a user.")
    ] = "postgresql+psycopg://postgres/segue",
) -> None:
    """Write secrets, the ACL file of Redis and each role's settings into FOLDER, for containers.

    The servers are by default those of docker-compose.yml.
    """
    from storage.roles import credentials, seaweedfs_tls
    from storage.settings import Settings

    try:
        credentials.write_for_containers(folder, redis, sql, Settings().bucket_prefix)
        seaweedfs_tls.main(folder / "seaweedfs", mounted=Path("/etc/seaweedfs"))
    except (OSError, ValueError) as error:
        fail(f"not written: {error}")
    typer.echo(f"written to {folder}")


@app.command(rich_help_panel=PANEL, epilog="Example: segue doctor --repair")
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Correct the faults that can be corrected.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check Redis, the object store, models and workers, and whether jobs and objects agree.

    Exit code 0: no faults.
    """
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
    """Show the history of a job: when it arrived, which workers had it, how it ended.

    Exit code 1: the job is unknown.
    """
    from storage.records.audit_event import Action
    from worker import trace

    with connected() as storage:
        story = trace.trace(storage, job)
        if story:
            audit(storage, operated(Action.JOB_READ, job, story.tenant))
    if story is None:
        fail(f"unknown job: {job}")
    if as_json:
        show_json(asdict(story))
        return
    typer.echo(f"{story.job_id} of {story.tenant}: {story.status} (from {', '.join(story.sources)})")
    for silent in story.silent:
        typer.echo(f"!!  {silent} did not respond: the history may be incomplete")
    for event in story.events:
        at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
        typer.echo(f"{at.removesuffix('+00:00')}  {event.what}")
