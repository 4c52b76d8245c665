"""API keys."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.server import database
from segue_client.commands.output import JsonOption, fail, show_json

if TYPE_CHECKING:
    from storage.records.api_key import ApiKey

app = typer.Typer(no_args_is_help=True, help="API keys: who may call, as which tenant, and what for.")


@app.command("create", epilog="Example: segue keys create --tenant acme --scope read --name 'the dashboard'")
def create_key(
    tenant: Annotated[str, typer.Option(help="Whose jobs it sends and sees.")],
    scope: Annotated[list[str], typer.Option(help="submit, read or admin; several times.")] = ["submit", "read"],  # noqa: B006
    name: Annotated[str, typer.Option(help="To know it by.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its digest is stored."""
    from storage.records.api_key import Scope, check_tenant
    from storage.records.api_keys import ApiKeys

    try:
        check_tenant(tenant)
        scopes = frozenset(map(Scope, scope))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with database() as records:
        records.migrate()
        key, text = ApiKeys(records).create(tenant, scopes, name)
    if as_json:
        show_json({"key": text, **_told(key)})
        return
    typer.echo(text)
    typer.echo(f"{key.id} of {tenant}: {', '.join(sorted(scopes))}. It is not shown again.", err=True)


@app.command("list", epilog="Example: segue keys list --json")
def list_keys(as_json: JsonOption = False) -> None:
    """Every key without what makes it one; the revoked ones too."""
    from storage.records.api_keys import ApiKeys

    with database() as records:
        told = [_told(key) for key in ApiKeys(records).all()]
    if as_json:
        show_json(told)
        return
    for key in told:
        state = "revoked" if key["revoked_at"] else "valid"
        typer.echo(f"{key['id']}  {state:8} {key['tenant']:24} {','.join(key['scopes']):20} {key['name']}".rstrip())


@app.command("revoke", epilog="Example: segue keys revoke 3f9a1c")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `segue keys list` shows it.")]) -> None:
    """End a key for good. Every web follows within seconds, its sessions and event streams end too."""
    from storage.records.api_keys import ApiKeys

    with database() as records:
        if not ApiKeys(records).revoke(key_id):
            fail(f"{key_id} is no valid key")
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
