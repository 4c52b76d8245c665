"""`segue sessions`: lists and ends the sessions of a tenant's browsers."""

from typing import Annotated

import typer

from cli.durations import timestamp
from cli.server import database, operated
from segue_client.commands.output import JsonOption, show_json

TenantOption = Annotated[str, typer.Option(help="The tenant whose sessions are meant.")]

app = typer.Typer(no_args_is_help=True, help="Browser sessions: list them and end them.")


@app.command("list", epilog="Example: segue sessions list --tenant acme")
def list_sessions(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List a tenant's open sessions, the most recently used first."""
    from storage.records.sessions import Sessions

    with database() as records:
        found = Sessions(records).of_tenant(tenant)
    if as_json:
        show_json(
            [
                {
                    "id": session.id,
                    "key": session.key_id,
                    "created_at": timestamp(session.created_ms),
                    "last_used_at": timestamp(session.seen_ms),
                    "expires_at": timestamp(session.expires_ms),
                    "agent": session.agent,
                }
                for session in found
            ]
        )
        return
    for session in found:
        typer.echo(f"{session.id}  {session.key_id:12} used {timestamp(session.seen_ms)}  {session.agent}".rstrip())


@app.command("end", epilog="Example: segue sessions end --tenant acme")
def end_sessions(tenant: TenantOption) -> None:
    """End all sessions of a tenant. Takes effect within seconds."""
    from storage.records.audit_event import Action
    from storage.records.sessions import Sessions

    with database() as records:
        ended = Sessions(records).end_tenant(tenant, operated(Action.SESSION_ENDED, tenant, "all of the tenant"))
    typer.echo(f"{ended} sessions of {tenant} ended")
