"""`segue data`: imports the base of a data set, submits builds, and shows versions."""

from pathlib import Path
from typing import Annotated

import typer

from cli.runs import WaitOption, announce, submit
from cli.server import connected
from segue_client.commands.output import JsonOption, fail, say, show_json

app = typer.Typer(no_args_is_help=True, help="Data sets: a base, and the corrections that reviewers accepted.")


@app.command("import", epilog="Example: segue data import pets ../data/pets")
def import_(
    name: Annotated[str, typer.Argument(help="Name of the new data set.")],
    folder: Annotated[Path, typer.Argument(help="Folder with images/, masks/, splits/ and labels.json.")],
) -> None:
    """Upload photos and masks as version 1 of a data set. Its gate photos are locked from then on.

    Safe to repeat after an interruption.
    """
    from learning.data.base import import_base
    from storage.training.datasets import DatasetError, Split

    def tell(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            say(f"{done} of {total} photos", err=True)

    with connected() as storage:
        try:
            manifest = import_base(storage, name, folder, tell)
        except (DatasetError, FileNotFoundError, ValueError) as error:
            fail(f"not imported: {error}")
    say(f"{manifest.id}: {', '.join(f'{len(manifest.of(split))} {split}' for split in Split if manifest.of(split))}")


@app.command(epilog="Example: segue data build pets --teach --wait")
def build(
    name: Annotated[str, typer.Argument(help="Name of the data set.")],
    teach: Annotated[bool, typer.Option("--teach", help="Then train a candidate and let the gate judge it.")] = False,
    wait: WaitOption = False,
) -> None:
    """Make the next version from the base and all accepted corrections."""
    from storage.training import submitting
    from storage.training.runs import Kind

    with connected() as storage:
        announce(
            storage, submit(storage, Kind.BUILD, {"dataset": name}, then=submitting.teach() if teach else ()), wait
        )


@app.command("list", epilog="Example: segue data list")
def list_(as_json: JsonOption = False) -> None:
    """List all versions of all data sets. A version is withdrawn if photos of it were erased."""
    with connected() as storage:
        found = list(storage.datasets.listing())
    if as_json:
        show_json([manifest.to_document(erased) for manifest, erased in found])
        return
    for manifest, erased in found:
        state = f"  withdrawn: {len(erased)} photos were erased" if erased else ""
        say(f"{manifest.id:24} {len(manifest.items):6} photos, {len(manifest.corrections)} corrections{state}")


@app.command(epilog="Example: segue data show pets/3")
def show(version: str) -> None:
    """Print a version: the number of photos in each split, and the corrections that it leaves out, with reasons."""
    from storage.training.datasets import DatasetError

    with connected() as storage:
        try:
            manifest = storage.datasets.manifest(version)
        except DatasetError as error:
            fail(str(error))
        show_json(manifest.to_document(storage.datasets.erased(manifest)))
