"""The `segue` command. Each part is imported when it is used: the client needs nothing of the server."""

import json
import os
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage import Storage
    from storage.api_key import ApiKey
    from storage.settings import Settings
    from storage.sql import Database

app = typer.Typer(no_args_is_help=True, help="Segmentation in a queue: photos in, masks out.")
models = typer.Typer(no_args_is_help=True, help="Model versions, and which of them `stable` and `canary` are.")
app.add_typer(models, name="models")
keys = typer.Typer(no_args_is_help=True, help="API keys: who may call, as which tenant, and what for.")
app.add_typer(keys, name="keys")

WEIGHTS = Path(__file__).parent / "model" / "weights"
AliasOption = Annotated[str, typer.Option("--alias", help="stable or canary.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@contextmanager
def connected() -> "Iterator[Storage]":
    """The storage that the settings name. An outage is one line and not a traceback."""
    from storage import connect

    with _outages():
        yield connect(_settings())


@contextmanager
def database() -> "Iterator[Database]":
    """Only the SQL database: whoever makes keys needs no other credentials."""
    from storage.sql import Database

    with _outages():
        made = Database(_settings().sql_url.get_secret_value())
        yield made
        made.dispose()


def _settings() -> "Settings":
    """By the environment, or what `make run` left in $VAR/env."""
    from storage.settings import Settings

    return Settings(_env_file=Path(os.environ.get("VAR") or "var") / "env")  # type: ignore[call-arg]


@contextmanager
def _outages() -> "Iterator[None]":
    from redis import RedisError

    from storage.problems import Unavailable

    try:
        yield
    except (Unavailable, RedisError) as error:
        _fail(f"not available: {error}")


@app.command()
def setup(
    weights: Annotated[Path, typer.Option(help="Folder of name/version folders to publish.")] = WEIGHTS,
) -> None:
    """Make tables and buckets, publish the shipped model, bring back what Redis may have lost. Safe to repeat."""
    from storage.minio_users import make_users
    from storage.models import ModelError
    from worker.housekeeping import adopt_after_loss

    with connected() as storage:
        storage.database.migrate()
        storage.objects.make_buckets()
        if storage.settings.s3_users:
            make_users(storage.settings)
        for card in sorted(weights.glob("*/*/card.json")):
            try:
                typer.echo(f"published model {storage.models.publish(card.parent)}")
            except ModelError as error:
                typer.echo(f"not published: {error}", err=True)
        adopt_after_loss(storage)


@app.command(hidden=True)
def roles(
    folder: Annotated[Path, typer.Argument(help="Secrets that lie there already are kept.")],
) -> None:
    """Write secrets, Redis' ACL file and each role's settings into FOLDER, for docker-compose.yml."""
    from storage import credentials

    try:
        credentials.write_for_containers(folder)
    except OSError as error:
        _fail(f"not written: {error}")
    typer.echo(f"written to {folder}")


@app.command()
def folder(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of photos, looked through to the bottom.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the masks and the journal; may lie inside IN.")],
    url: Annotated[str, typer.Option(envvar="SEGUE_URL", help="Address of the service.")] = "http://127.0.0.1:8000",
    format: Annotated[str, typer.Option(help="index: palette PNG; overlay: JPEG.")] = "index",  # noqa: A002
    key: Annotated[
        str, typer.Option(envvar="SEGUE_KEY", help="API key; better by the variable.", show_envvar=True)
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the batch; the folder's without.")] = "",
    model: Annotated[str, typer.Option(help="Alias or version of the model.")] = "stable",
    concurrency: Annotated[int, typer.Option(help="Requests at a time.")] = 4,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run those again that failed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Masks for a folder of photos. Run again, it goes on where it was stopped. 0: all there, 1: not all, 2: usage."""
    from web.folder import Order, UsageError, run

    try:
        report = run(Order(source, out, url, format, name, model, concurrency, retry_failed, key))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(json.dumps(report.document(), indent=2) if as_json else "\n".join(report.lines()))
    raise typer.Exit(not report.ok)


@app.command()
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be put right.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine Redis, the object store, models and workers, and whether jobs and objects agree. 0: all well."""
    from worker import doctor

    with connected() as storage:
        if repair:
            doctor.repair(storage)
        findings = list(doctor.examine(storage))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'ok' if finding.ok else '!!'}  {finding.what}: {finding.detail}")
    raise typer.Exit(not all(finding.ok for finding in findings))


@app.command()
def trace(job: str, as_json: JsonOption = False) -> None:
    """One job's story: when it came, who took it, what became of it. 0: known, 1: nobody knows it."""
    from worker import trace

    with connected() as storage:
        story = trace.trace(storage, job)
    if story is None:
        _fail(f"nobody knows {job}")
    if as_json:
        typer.echo(json.dumps(asdict(story), indent=2))
        return
    typer.echo(f"{story.job_id} of {story.tenant}: {story.status} (told by {', '.join(story.told_by)})")
    for silent in story.silent:
        typer.echo(f"!!  the {silent} did not answer: this may not be all")
    for event in story.events:
        at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
        typer.echo(f"{at.removesuffix('+00:00')}  {event.what}")


@models.command()
def publish(
    version: Annotated[Path, typer.Argument(metavar="FOLDER", help="A card.json and the files that it lists.")],
    promote: Annotated[bool, typer.Option("--promote", help="Make it `stable` at once.")] = False,
) -> None:
    """Load a version with every engine that is installed here, then store it. A version never changes."""
    from model.card import Card
    from model.engines import FILES, installed
    from model.segmenter import Segmenter
    from storage.models import Alias, ModelError

    with connected() as storage:
        try:
            card = Card.load(version)
            for engine in installed():
                if FILES[engine] in card.files:
                    Segmenter(version, engine)
            name = storage.models.publish(version)
        except (ModelError, ValueError, TypeError, OSError) as error:
            _fail(f"not published: {error}")
        if promote:
            storage.models.point(Alias.STABLE, name)
    typer.echo(f"published {name}{', now stable' if promote else ''}")


@models.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Every version with its mean IoU and aliases."""
    with connected() as storage:
        cards = {version: storage.models.card(version) or {} for version in storage.models.versions()}
        aliases, history = storage.models.aliases(), storage.models.history()
    if as_json:
        typer.echo(json.dumps({"versions": cards, "aliases": history}, indent=2))
        return
    for version, card in cards.items():
        names = ", ".join(alias for alias, target in aliases.items() if target == version)
        flat = _flat(card["metrics"])
        quality = next((f"{flat[name]:.3f}" for name in sorted(flat) if name.endswith("test.mean_iou")), "-")
        typer.echo(f"{version:24} {quality:>6}  {names}")


@models.command()
def show(version: str) -> None:
    """A version's card."""
    typer.echo(json.dumps(_card(version), indent=2))


@models.command()
def compare(first: str, second: str) -> None:
    """The metrics of two versions side by side, and by how much the second is better."""
    before, after = _flat(_card(first)["metrics"]), _flat(_card(second)["metrics"])
    typer.echo(f"{'':44} {first:>12} {second:>12}")
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        change = f"{new - old:+.4f}" if old is not None and new is not None else ""
        typer.echo(f"{name:44} {'-' if old is None else old:>12} {'-' if new is None else new:>12} {change:>9}")


@models.command()
def promote(version: str, alias: AliasOption = "stable") -> None:
    """Let an alias mean this version. Workers follow within a second or two, between two micro-batches."""
    _change(alias, version)


@models.command()
def rollback(alias: AliasOption = "stable") -> None:
    """Let an alias mean again what it meant before."""
    _change(alias, None)


@keys.command("create")
def create_key(
    tenant: Annotated[str, typer.Option(help="Whose jobs it sends and sees.")],
    scope: Annotated[list[str], typer.Option(help="submit, read or admin; several times.")] = ["submit", "read"],  # noqa: B006
    name: Annotated[str, typer.Option(help="To know it by.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its digest is stored."""
    from storage.api_key import Scope, check_tenant
    from storage.api_keys import ApiKeys

    try:
        check_tenant(tenant)
        scopes = frozenset(map(Scope, scope))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with database() as records:
        records.migrate()
        key, text = ApiKeys(records).create(tenant, scopes, name)
    if as_json:
        typer.echo(json.dumps({"key": text, **_told(key)}, indent=2))
        return
    typer.echo(text)
    typer.echo(f"{key.id} of {tenant}: {', '.join(sorted(scopes))}. It is not shown again.", err=True)


@keys.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """Every key without what makes it one; the revoked ones too."""
    from storage.api_keys import ApiKeys

    with database() as records:
        told = [_told(key) for key in ApiKeys(records).all()]
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for key in told:
        state = "revoked" if key["revoked_at"] else "valid"
        typer.echo(f"{key['id']}  {state:8} {key['tenant']:24} {','.join(key['scopes']):20} {key['name']}".rstrip())


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `segue keys list` shows it.")]) -> None:
    """End a key for good. Every web follows within seconds, its sessions and event streams end too."""
    from storage.api_keys import ApiKeys

    with database() as records:
        if not ApiKeys(records).revoke(key_id):
            _fail(f"{key_id} is no valid key")
    typer.echo(f"{key_id} is revoked")


def _told(key: "ApiKey") -> dict[str, Any]:
    """What may be shown of it."""
    made, revoked = (datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in (key.created_ms, key.revoked_ms))
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "name": key.name,
        "created_at": made,
        "revoked_at": revoked if key.revoked_ms else None,
    }


def _change(alias: str, version: str | None) -> None:
    from storage.models import Alias
    from storage.problems import Problem

    if alias not in list(Alias):
        raise typer.BadParameter(f"the aliases are {', '.join(Alias)}")
    with connected() as storage:
        try:
            if version is None:
                version = storage.models.rollback(Alias(alias))
            else:
                storage.models.point(Alias(alias), version)
        except Problem as problem:
            _fail(problem.detail)
    typer.echo(f"{alias} is {version}")


def _fail(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(1)


def _card(version: str) -> dict[str, Any]:
    with connected() as storage:
        return storage.models.card(version) or _fail(f"{version} is not in the registry")


def _flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers by dotted names."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


if __name__ == "__main__":
    app()
