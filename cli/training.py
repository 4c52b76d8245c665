"""The commands that train, judge and promote candidates."""

import json
import subprocess
import sys
import tomllib
from typing import Annotated, Any

import typer

from cli.runs import WaitOption, announce, submit
from cli.server import audit, connected, operated
from segue_client.commands.output import JsonOption, fail, say, show_json

PANEL = "Models"

app = typer.Typer()
candidates = typer.Typer(no_args_is_help=True, help="Model versions that the learning loop has made.")


@app.command(rich_help_panel=PANEL, epilog="Example: segue train pets --set epochs=3 --wait")
def train(
    dataset: Annotated[str, typer.Argument(help="A version, such as pets/3, or a name for its newest version.")],
    *,
    recipe: Annotated[str, typer.Option(help="A file in model/recipes, without .toml.")] = "finetune",
    changes: Annotated[
        list[str], typer.Option("--set", metavar="ENTRY=VALUE", help="Replace an entry of the recipe; repeatable.")
    ] = [],  # noqa: B006
    start: Annotated[str, typer.Option(help="Model version to fine-tune; default: stable.")] = "",
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Print what another machine needs to do it; no trainer takes it.")
    ] = False,
    here: Annotated[bool, typer.Option("--here", help="Do it here and now, without a trainer.")] = False,
    wait: WaitOption = False,
) -> None:
    """Train a candidate on a data set version. A trainer does this, and publishes the candidate with its card."""
    from storage.training.runs import Kind

    try:
        entries = {name: value for change in changes for name, value in tomllib.loads(change).items()}
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"--set: {error}") from None
    parameters = {"dataset": dataset, "recipe": recipe, "start": start, "changes": entries}
    with connected() as storage:
        spec = submit(storage, Kind.TRAIN, parameters, elsewhere=elsewhere or here)
        task = external_task(spec.id, spec.parameters)
        if here:
            raise typer.Exit(subprocess.run([sys.executable, *task["command"][1:]], check=False).returncode)
        if elsewhere:
            typer.echo(json.dumps(task, indent=2))
            return
        announce(storage, spec, wait)


def external_task(run_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What another machine needs to do the run: the same under Docker, Kubernetes and `segue train --here`."""
    return {
        "image": "segue-trainer",
        "command": ["python", "-m", "learning.job", run_id],
        "environment": ["S3_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "BUCKET_PREFIX"],
        "dataset": parameters["dataset"],
        "candidate": parameters["candidate"],
    }


@app.command(rich_help_panel=PANEL, epilog="Example: segue gate pets/4 --wait")
def gate(
    candidate: str,
    dataset: Annotated[str, typer.Option(help="Version to judge on; default: the one it was trained on.")] = "",
    wait: WaitOption = False,
) -> None:
    """Judge a candidate against stable. This spends from the data set's alpha ledger."""
    from storage.training.runs import Kind

    with connected() as storage:
        announce(storage, submit(storage, Kind.GATE, {"candidate": candidate, "dataset": dataset}), wait)


@candidates.command("list", epilog="Example: segue candidates list")
def list_(as_json: JsonOption = False) -> None:
    """List all candidates with the gate's verdicts, the newest first."""
    from dataclasses import asdict

    from storage.training.candidates import listing

    with connected() as storage:
        found, stable = listing(storage), storage.models.aliases()
    if as_json:
        show_json([asdict(candidate) for candidate in found])
        return
    for one in found:
        names = ", ".join(alias for alias, version in stable.items() if version == one.version)
        say(f"{one.version:24} from {one.dataset:20} {one.outcome:12} {names}")


@candidates.command(epilog="Example: segue candidates show pets/4")
def show(version: str) -> None:
    """Print the gate's verdict on a candidate, check by check."""
    from learning.gate.verdict import Verdict
    from storage.training.candidates import find

    with connected() as storage:
        found = find(storage, version) or fail(f"{version} is not a candidate")
    if found.verdict is None:
        fail(f"the gate has not judged {version}: run `segue gate {version}`")
    for line in Verdict.from_dict(found.verdict).lines():
        say(line)


@candidates.command(epilog="Example: segue candidates promote pets/4")
def promote(version: str) -> None:
    """Point `stable` at a candidate that has passed the gate. Workers switch within a second or two."""
    from storage.models import Alias
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.training import candidates as stored

    with connected() as storage:
        try:
            stored.promote(storage, version)
        except Problem as problem:
            fail(problem.detail)
        audit(storage, operated(Action.MODEL_PROMOTED, version, Alias.STABLE))
    typer.echo(f"stable is {version}")
