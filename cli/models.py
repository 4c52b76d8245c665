"""`segue models`: publishes, signs and compares model versions, and points aliases at them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import JsonOption, fail, show_json

if TYPE_CHECKING:
    from storage.model_documents import PublishedCard

AliasOption = Annotated[str, typer.Option("--alias", help="stable or canary.")]

SignOption = Annotated[Path | None, typer.Option("--sign", metavar="FILE", help="Private key that signs the version.")]

app = typer.Typer(no_args_is_help=True, help="Model versions, and the aliases `stable` and `canary`.")


@app.command(epilog="Example: segue models publish model/weights/pets/2 --promote")
def publish(
    version: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with a card.json and the files that it lists.")
    ],
    promote: Annotated[bool, typer.Option("--promote", help="Also point `stable` at it.")] = False,
    sign: SignOption = None,
) -> None:
    """Check that every engine installed here can load a version, then store it.

    A version never changes.
    """
    from model.card import Card
    from model.engines import ENGINES, installed
    from model.segmenter import Segmenter
    from storage.model_files import ModelError
    from storage.models import Alias
    from storage.records.audit_event import Action

    with connected() as storage:
        try:
            card = Card.load(version)
            for engine in installed():
                if ENGINES[engine].file in card.files:
                    Segmenter(version, engine)
            name = storage.models.publish(version, sign)
        except (ModelError, ValueError, TypeError, OSError) as error:
            fail(f"not published: {error}")
        audit(storage, operated(Action.MODEL_PUBLISHED, name))
        if promote:
            storage.models.point(Alias.STABLE, name)
            audit(storage, operated(Action.MODEL_PROMOTED, name, Alias.STABLE))
    typer.echo(f"published {name}{', now stable' if promote else ''}")


@app.command(epilog="Example: segue models keygen operator.pem")
def keygen(file: Annotated[Path, typer.Argument(help="File for the new private key.")]) -> None:
    """Create a key pair for signing versions. Prints the public key, for the workers' MODEL_PUBLIC_KEY.

    Keep the private key where no server can read it.
    """
    from storage import model_signatures

    try:
        typer.echo(model_signatures.make_key(file))
    except OSError as error:
        fail(f"not written: {error}")


@app.command(epilog="Example: segue models sign pets/2 operator.pem")
def sign(version: str, key: Annotated[Path, typer.Argument(help="File with the private key.")]) -> None:
    """Sign a version that is already published, such as the shipped one."""
    from storage.model_files import ModelError

    with connected() as storage:
        try:
            storage.models.sign(version, key)
        except (ModelError, ValueError, OSError) as error:
            fail(f"not signed: {error}")
    typer.echo(f"signed {version}")


@app.command("list", epilog="Example: segue models list")
def list_(as_json: JsonOption = False) -> None:
    """List all versions with their mean IoU and aliases, and why a version was rolled back."""
    with connected() as storage:
        cards = {version: card for version in storage.models.versions() if (card := storage.models.card(version))}
        aliases, history = storage.models.aliases(), storage.models.history()
        condemned = storage.rollouts.register().condemned
    if as_json:
        show_json({"versions": cards, "aliases": history})
        return
    for version, card in cards.items():
        names = ", ".join(alias for alias, target in aliases.items() if target == version)
        flat = _flat(card["metrics"])
        quality = next((f"{flat[name]:.3f}" for name in sorted(flat) if name.endswith("test.mean_iou")), "-")
        note = f"condemned: {condemned[version].reason}" if version in condemned else ""
        typer.echo(f"{version:24} {quality:>6}  {names}{note}")


@app.command(epilog="Example: segue models show pets/2")
def show(version: str) -> None:
    """Print a version's card."""
    show_json(_card(version))


@app.command(epilog="Example: segue models compare pets/1 pets/2")
def compare(first: str, second: str) -> None:
    """Print the metrics of two versions side by side, and the difference, second minus first."""
    before, after = _flat(_card(first)["metrics"]), _flat(_card(second)["metrics"])
    typer.echo(f"{'':44} {first:>12} {second:>12}")
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        change = f"{new - old:+.4f}" if old is not None and new is not None else ""
        typer.echo(f"{name:44} {'-' if old is None else old:>12} {'-' if new is None else new:>12} {change:>9}")


@app.command(epilog="Example: segue models promote pets/2 --alias canary")
def promote(version: str, alias: AliasOption = "stable") -> None:
    """Point an alias at a version.

    Workers switch within a second or two, between two micro-batches.
    """
    _change(alias, version)


@app.command(epilog="Example: segue models rollback")
def rollback(alias: AliasOption = "stable") -> None:
    """Point an alias at its previous version again."""
    _change(alias, None)


def _change(alias: str, version: str | None) -> None:
    from storage.models import Alias
    from storage.problems import Problem
    from storage.records.audit_event import Action

    action = Action.MODEL_PROMOTED if version else Action.MODEL_ROLLED_BACK
    if alias not in list(Alias):
        raise typer.BadParameter(f"the aliases are {', '.join(Alias)}")
    with connected() as storage:
        try:
            if version is None:
                version = storage.models.rollback(Alias(alias))
            else:
                storage.models.point(Alias(alias), version)
        except Problem as problem:
            fail(problem.detail)
        audit(storage, operated(action, version, alias))
    typer.echo(f"{alias} is {version}")


def _card(version: str) -> "PublishedCard":
    with connected() as storage:
        return storage.models.card(version) or fail(f"{version} is not in the registry")


def _flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested metrics: dotted name → number."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat
