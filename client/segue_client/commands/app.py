"""The `segue` command: the client's commands and, if the server is installed, the operator's."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from io import TextIOWrapper
from typing import Annotated

import typer

from segue_client import __version__
from segue_client.commands import folder, jobs
from segue_client.commands.interrupt import end_now, end_soon
from segue_client.commands.output import INTERRUPTED, fail, say

EXTENSIONS = "segue.commands"  # entry points, each a Typer whose commands and groups are added
OPERATOR = (
    "setup", "doctor", "pause", "resume", "backup", "restore", "top", "trace", "roles", "models", "rollout", "review",
    "data", "train", "gate", "candidates", "runs", "backfill", "drift", "keys", "sessions", "audit",
)  # fmt: skip


def _print_version(requested: bool) -> None:
    if requested:
        say(f"segue-client {__version__}")
        for server in {entry.dist.version for entry in entry_points(group=EXTENSIONS) if entry.dist}:
            say(f"segue {server}")
        raise typer.Exit


def assemble(extensions: Iterable[typer.Typer]) -> typer.Typer:
    """Build the command line from the client's commands and those of `extensions`."""
    app = typer.Typer(no_args_is_help=True)
    app.callback()(_root)
    for group in (jobs.app, folder.app, *extensions):
        app.add_typer(group)
    present = typer.main.get_group(app).commands
    for name in OPERATOR:
        if name not in present:
            _add_absent(app, name)
    return app


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the versions of client and server.",
        ),
    ] = False,
) -> None:
    """Segment photos: send them to a Segue server and fetch their masks."""


def _add_absent(app: typer.Typer, name: str) -> None:
    @app.command(name, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def absent(context: typer.Context) -> None:  # noqa: ARG001 - typer passes the arguments in it
        """Available only where the server is installed."""
        fail(f"`segue {name}` is a command of the server, which is not installed here.")


def main() -> None:
    run(assemble(_extensions()))


def _extensions() -> Iterator[typer.Typer]:
    """Load the server's commands. If the server cannot be imported, the client's still work."""
    for entry in entry_points(group=EXTENSIONS):
        with suppress(ImportError):
            yield entry.load()


def run(app: typer.Typer) -> None:
    """Run the command line. A character that the terminal cannot show is printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    end_soon()
    try:
        app()
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            end_now(INTERRUPTED)
        raise
