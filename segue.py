"""The `segue` command. Each part is imported when it is used: the client needs nothing of the server."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Segmentation in a queue: photos in, masks out.")
WEIGHTS = Path(__file__).parent / "model" / "weights"


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


@app.command()
def folder(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of photos, looked through to the bottom.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the masks and the journal; may lie inside IN.")],
    url: Annotated[str, typer.Option(envvar="SEGUE_URL", help="Address of the service.")] = "http://127.0.0.1:8000",
    format: Annotated[str, typer.Option(help="index: palette PNG; overlay: JPEG.")] = "index",  # noqa: A002
    name: Annotated[str, typer.Option(help="Name of the batch; the folder's without.")] = "",
    concurrency: Annotated[int, typer.Option(help="Requests at a time.")] = 4,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run those again that failed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Masks for a folder of photos. Run again, it goes on where it was stopped. 0: all there, 1: not all, 2: usage."""
    import json

    from web.folder import Order, UsageError, run

    try:
        report = run(Order(source, out, url, format, name, concurrency, retry_failed))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(json.dumps(report.document(), indent=2) if as_json else "\n".join(report.lines()))
    raise typer.Exit(not report.ok)


if __name__ == "__main__":
    app()
