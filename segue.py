"""The `segue` command. Each part is imported when it is used: the client needs nothing of the server."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Segmentation in a queue: photos in, masks out.")
WEIGHTS = Path(__file__).parent / "model" / "weights"


@app.callback()
def _commands() -> None:
    """Keeps `setup` a command of its own while it is the only one."""


@app.command()
def setup(
    weights: Annotated[Path, typer.Option(help="Folder of name/version folders to publish.")] = WEIGHTS,
) -> None:
    """Prepare the object store: make the buckets and publish the shipped model. Safe to repeat."""
    from storage import connect
    from storage.settings import Settings
    from worker.engines import publish

    objects = connect(Settings()).objects
    objects.make_buckets()
    for card in sorted(weights.glob("*/*/card.json")):
        typer.echo(f"published model {publish(objects, card.parent)}")


if __name__ == "__main__":
    app()
