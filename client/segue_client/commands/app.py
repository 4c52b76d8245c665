"""The `segue` command: the client's commands, and the operator's where the server is installed too."""

from collections.abc import Iterable
from importlib.metadata import entry_points

import typer

from segue_client.commands import folder, jobs
from segue_client.commands.output import fail

EXTENSIONS = "segue.commands"  # entry points, each a Typer whose commands and groups are added
OPERATOR = ("setup", "doctor", "trace", "roles", "models", "keys")


def assemble(extensions: Iterable[typer.Typer]) -> typer.Typer:
    """The client's commands and those of `extensions`."""
    app = typer.Typer(no_args_is_help=True, help="Segmentation in a queue: photos in, masks out.")
    for group in (jobs.app, folder.app, *extensions):
        app.add_typer(group)
    present = typer.main.get_group(app).commands
    for name in OPERATOR:
        if name not in present:
            _add_absent(app, name)
    return app


def _add_absent(app: typer.Typer, name: str) -> None:
    @app.command(name, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def absent(context: typer.Context) -> None:  # noqa: ARG001 - typer passes the arguments in it
        """A command of the server."""
        fail(f"`segue {name}` is a command of the server, which is not installed here.")


def main() -> None:
    assemble(entry.load() for entry in entry_points(group=EXTENSIONS))()
