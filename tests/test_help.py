"""Every command's help has an example that would run."""

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from segue import app


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, command) of every command, including hidden ones."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))


def test_the_list_of_commands() -> None:
    groups = {path[0] for path in ALL}
    photos = {"submit", "status", "wait", "cancel", "retry", "list", "queue", "folder"}
    assert groups == {
        *photos,
        "setup",
        "doctor",
        "pause",
        "resume",
        "backup",
        "restore",
        "top",
        "trace",
        "roles",
        "models",
        "review",
        "data",
        "runs",
        "train",
        "gate",
        "candidates",
        "rollout",
        "backfill",
        "drift",
        "keys",
        "sessions",
        "audit",
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_an_example_that_would_run(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    example = ALL[path].epilog.removeprefix("Example: ")
    assert shown.exit_code == 0
    assert f"Example: {example}" in shown.stdout
    words = shlex.split(example)
    assert words[: 1 + len(path)] == ["segue", *path]
    ALL[path].make_context("segue", words[1 + len(path) :])  # raises for a wrong option


def test_the_help_groups_the_commands() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    panels = [shown.index(f"─ {name} ─") for name in ("Photos", "Operator", "Models", "Keys")]
    assert panels == sorted(panels)
