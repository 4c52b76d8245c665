"""`segue folder`: masks for a folder of photos."""

from pathlib import Path
from typing import Annotated

import typer

from segue_client.commands.options import FormatOption, SuffixOption, TagOption
from segue_client.commands.output import FAILED, INTERRUPTED, JsonOption, say, show_json
from segue_client.commands.service import DEFAULT_URL, PANEL, KeyOption, UrlOption
from segue_client.folder.forecast import is_time
from segue_client.folder.order import Order, UsageError
from segue_client.folder.run import run
from segue_client.terminal import printable

app = typer.Typer()


def _time(text: str) -> str:
    if text and not is_time(text):
        raise typer.BadParameter("a time of day, HH:MM.")
    return text


@app.command(rich_help_panel=PANEL, epilog="Example: segue folder photos --out masks")
def folder(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of photos, with its subfolders.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the masks and the journal; may lie inside IN.")],
    url: UrlOption = DEFAULT_URL,
    format: FormatOption = "index",  # noqa: A002 - the API's own word
    suffix: SuffixOption = "",
    key: KeyOption = "",
    name: Annotated[str, typer.Option(help="Name of the batch. Default: the folder's name.")] = "",
    model: Annotated[str, typer.Option(help="Alias or version of the model.")] = "stable",
    concurrency: Annotated[int, typer.Option(help="Number of parallel requests.")] = 4,
    tag: TagOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed photos again.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files in OUT that this command did not write.")
    ] = False,
    by: Annotated[
        str,
        typer.Option(
            metavar="HH:MM", callback=_time, help="Report at the start if the run will be done by this local time."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Fetch a mask for each photo in a folder. Run it again to resume an interrupted run.

    Exit code 0: every photo has its mask; 1: some have none; 2: wrong usage.
    """
    order = Order(
        source, out, url, format, name, model, concurrency, retry_failed=retry_failed, overwrite=overwrite,
        own_suffix=suffix, by=by, tags=tuple(tag or ()), key=key,
    )  # fmt: skip
    try:
        report = run(order)
    except UsageError as error:
        raise typer.BadParameter(printable(str(error))) from error
    if as_json:
        show_json(report.document())
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(INTERRUPTED if report.interrupted else FAILED if not report.ok else 0)
