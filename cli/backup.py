"""`segue backup` and `segue restore`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import fail, say

if TYPE_CHECKING:
    from storage.backup.saving import Progress

PANEL = "Operator"

app = typer.Typer()
FolderArgument = Annotated[Path, typer.Argument(help="Folder of the backup.", file_okay=False)]


@app.command(rich_help_panel=PANEL, epilog="Example: segue backup /srv/backups/segue")
def backup(
    folder: FolderArgument,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only read a complete backup, and list what is damaged.")
    ] = False,
) -> None:
    """Copy all objects and all SQL rows into FOLDER, while jobs run. Redis needs no backup.

    The same command continues an interrupted backup, and brings a complete one up to date. Exit code 1 of
    --verify: something is damaged or missing.
    """
    from storage.backup.folder import BackupError, Folder
    from storage.backup.saving import save
    from storage.records.audit_event import Action

    if verify:
        _verify(folder)
        return
    began = time.monotonic()
    with connected() as storage:
        try:
            made = save(storage, Folder(folder), _show)
        except (BackupError, OSError) as error:
            fail(f"no backup: {error}")
        audit(storage, operated(Action.BACKUP_SAVED, detail=str(folder)))
    seconds = max(0.001, time.monotonic() - began)
    pace = f"{made.copied / seconds:.0f} objects/s, {made.size / 1e6 / seconds:.1f} MB/s"
    say(f"{_line(made)} in {seconds:.1f} s ({pace})")


def _verify(root: Path) -> None:
    from storage.backup.folder import BackupError, Folder

    folder = Folder(root)
    try:
        faults = list(folder.faults())
        manifest = folder.manifest()
    except BackupError as error:
        fail(str(error))
    for fault in faults:
        say(fault, err=True)
    if faults:
        fail(f"{len(faults)} faults")
    rows = sum(part.count for part in manifest.tables.values())
    say(f"{manifest.id}: {manifest.objects.count} objects and {rows} rows, all intact")


def _show(progress: "Progress") -> None:
    say(_line(progress), err=True)


def _line(progress: "Progress") -> str:
    return f"{progress.copied} objects copied ({progress.size / 1e6:.1f} MB), {progress.kept} unchanged"


@app.command(rich_help_panel=PANEL, epilog="Example: segue restore /srv/backups/segue")
def restore(
    folder: FolderArgument,
    force: Annotated[bool, typer.Option("--force", help="Restore into an installation that has jobs, too.")] = False,
) -> None:
    """Write the backup in FOLDER into an empty installation of this version or a newer one, and rebuild Redis.

    Run `segue setup` first; no other process of Segue may run. After an interruption, the same command continues.
    """
    from storage.backup.folder import BackupError, Folder
    from storage.backup.restoring import restore as write
    from storage.records.audit_event import Action
    from worker.housekeeping.sweeps import adopt_after_loss

    def tell(done: int) -> None:
        say(f"{done} objects restored", err=True)

    began = time.monotonic()
    with connected() as storage:
        try:
            done = write(storage, Folder(folder), force, tell)
        except BackupError as error:
            fail(str(error))
        adopt_after_loss(storage)
        audit(storage, operated(Action.BACKUP_RESTORED, detail=str(folder)))
    say(f"restored {done} objects in {time.monotonic() - began:.1f} s; start the processes now")
