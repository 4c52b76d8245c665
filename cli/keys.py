"""`segue keys`: creates, rotates, lists and revokes API keys."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.durations import span_ms, timestamp
from cli.server import database, shard, shell_user
from segue_client.commands.output import JsonOption, fail, show_json

if TYPE_CHECKING:
    from storage.records.api_key import ApiKey

KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="The key's ID, as `segue keys list` shows it.")]

app = typer.Typer(no_args_is_help=True, help="API keys: each belongs to a tenant and grants scopes.")


@app.command("create", epilog="Example: segue keys create --tenant acme --scope read --expires 90d --name 'dashboard'")
def create_key(
    *,
    tenant: Annotated[str, typer.Option(help="The tenant that owns the key's jobs.")],
    scope: Annotated[list[str], typer.Option(help="submit, read or admin. Repeatable.")] = ["submit", "read"],  # noqa: B006
    name: Annotated[str, typer.Option(help="A name to recognise the key by.")] = "",
    expires: Annotated[str, typer.Option(help="Lifetime: 12h, 90d. Default: valid until revoked.")] = "",
    if_none: Annotated[bool, typer.Option("--if-none", help="Create none if a valid key exists already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it. It cannot be shown again: only its digest is stored."""
    from storage.clock import now_ms
    from storage.records import schema
    from storage.records.api_key import Scope, check_tenant
    from storage.records.api_keys import ApiKeys

    try:
        check_tenant(tenant)
        scopes = frozenset(map(Scope, scope))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    expires_ms = now_ms() + span_ms(expires) if expires else 0
    with database() as records:
        schema.migrate(records)
        keys = ApiKeys(records, shard())
        if if_none and keys.any_valid():
            typer.echo("no key created: a valid one exists already", err=True)
            return
        key, text = keys.create(tenant, scopes, name, expires_ms, shell_user())
    _show_secret(key, text, as_json)


@app.command("rotate", epilog="Example: segue keys rotate 3f9a1c0b2d4e --grace 24h")
def rotate_key(
    key_id: KeyArgument,
    grace: Annotated[str, typer.Option(help="How long the old secret stays valid; 0s ends it at once.")] = "24h",
    as_json: JsonOption = False,
) -> None:
    """Give a key a new secret and print it.

    Sessions opened with the old secret end when it does.
    """
    from storage.records.api_keys import ApiKeys

    grace_ms = span_ms(grace)
    with database() as records:
        rotated = ApiKeys(records, shard()).rotate(key_id, grace_ms, shell_user())
    if rotated is None:
        fail(f"{key_id} is not a valid key")
    _show_secret(*rotated, as_json)


@app.command("list", epilog="Example: segue keys list --json")
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys, expired and revoked ones included; secrets are never shown."""
    from storage.records.api_keys import ApiKeys

    with database() as records:
        described = [_document(key) for key in ApiKeys(records).all()]
    if as_json:
        show_json(described)
        return
    for key in described:
        times = f"used {key['last_used_at'] or 'never':25} expires {key['expires_at'] or 'never':25}"
        scopes = ",".join(key["scopes"])
        typer.echo(f"{key['id']}  {key['state']:8} {key['tenant']:24} {scopes:20} {times} {key['name']}".rstrip())


@app.command("revoke", epilog="Example: segue keys revoke 3f9a1c0b2d4e")
def revoke_key(key_id: KeyArgument) -> None:
    """Revoke a key permanently, and end its sessions and event streams.

    Takes effect within seconds.
    """
    from storage.records.api_keys import ApiKeys

    with database() as records:
        if not ApiKeys(records).revoke(key_id, shell_user()):
            fail(f"{key_id} is not a valid key")
    typer.echo(f"{key_id} is revoked")


def _show_secret(key: "ApiKey", text: str, as_json: bool) -> None:
    if as_json:
        show_json({"key": text, **_document(key)})
        return
    typer.echo(text)
    scopes = ", ".join(sorted(key.scopes))
    until = f", until {timestamp(key.expires_ms)}" if key.expires_ms else ""
    typer.echo(f"{key.id} of {key.tenant}: {scopes}{until}. It is not shown again.", err=True)


def _document(key: "ApiKey") -> dict[str, Any]:
    """The key as JSON, without its digests."""
    from storage.clock import now_ms

    now = now_ms()
    return {
        "id": key.id,
        "state": key.state(now),
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "name": key.name,
        "created_at": timestamp(key.created_ms),
        "expires_at": timestamp(key.expires_ms),
        "last_used_at": timestamp(key.last_used_ms),
        "rotated_at": timestamp(key.rotated_ms),
        "old_secret_until": timestamp(key.old_until_ms) if key.old_until_ms > now else None,
        "revoked_at": timestamp(key.revoked_ms),
    }
