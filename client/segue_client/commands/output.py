"""What the commands have in common: one JSON document on stdout, and reasons on stderr."""

import json
from typing import Annotated, Any, NoReturn

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def show_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def fail(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(1)
