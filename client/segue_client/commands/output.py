"""Output shared by all commands: a JSON document on stdout, reasons for failures on stderr."""

import json
from typing import Annotated, Any, NoReturn

import typer

from segue_client.terminal import printable

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def say(line: str, *, err: bool = False) -> None:
    """Print one line, without characters that control the terminal."""
    typer.echo(printable(line), err=err)


def show_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def fail(reason: str, code: int = FAILED) -> NoReturn:
    say(reason, err=True)
    raise typer.Exit(code)
