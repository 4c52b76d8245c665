"""What the commands have in common: one JSON document on stdout, and reasons on stderr."""

import json
from typing import Annotated, Any, NoReturn

import typer

from segue_client.terminal import printable

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def say(line: str, *, err: bool = False) -> None:
    """One line. A name in it cannot steer the terminal."""
    typer.echo(printable(line), err=err)


def show_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def fail(reason: str, code: int = FAILED) -> NoReturn:
    say(reason, err=True)
    raise typer.Exit(code)
