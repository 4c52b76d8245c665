"""`segue folder`: a tree of photos, its masks into another."""

from pathlib import Path
from typing import Annotated

import typer

from segue_client.commands.output import JsonOption, show_json
from segue_client.commands.service import DEFAULT_URL, PANEL, KeyOption, UrlOption
from segue_client.folder.order import Order, UsageError
from segue_client.folder.run import run

app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog="Example: segue folder photos --out masks")
def folder(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of photos, looked through to the bottom.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the masks and the journal; may lie inside IN.")],
    url: UrlOption = DEFAULT_URL,
    format: Annotated[str, typer.Option(help="index: palette PNG; overlay: JPEG.")] = "index",  # noqa: A002
    key: KeyOption = "",
    name: Annotated[str, typer.Option(help="Name of the batch; the folder's without.")] = "",
    model: Annotated[str, typer.Option(help="Alias or version of the model.")] = "stable",
    concurrency: Annotated[int, typer.Option(help="Requests at a time.")] = 4,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run those again that failed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Masks for a folder of photos. Run again, it goes on where it was stopped. 0: all there, 1: not all, 2: usage."""
    try:
        report = run(Order(source, out, url, format, name, model, concurrency, retry_failed, key))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        show_json(report.document())
    else:
        typer.echo("\n".join(report.lines()))
    raise typer.Exit(not report.ok)
