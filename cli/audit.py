"""`segue audit`: security events, the newest first."""

from dataclasses import asdict
from typing import Annotated

import typer

from cli.durations import span_ms, timestamp
from cli.server import database
from segue_client.commands.output import JsonOption, show_json

app = typer.Typer()


@app.command(rich_help_panel="Operator", epilog="Example: segue audit --action auth.failed --since 7d")
def audit(  # noqa: PLR0917
    action: Annotated[
        str, typer.Option(help="Only this action, such as auth.failed, key.revoked or model.promoted.")
    ] = "",
    actor: Annotated[str, typer.Option(help="Only this actor: a tenant, operator or housekeeper.")] = "",
    key: Annotated[str, typer.Option(help="Only the key with this ID.")] = "",
    since: Annotated[str, typer.Option(help="How far back: 12h, 7d.")] = "30d",
    limit: Annotated[int, typer.Option(help="List at most this many events.", min=1, max=100_000)] = 200,
    as_json: JsonOption = False,
) -> None:
    """List security events, the newest first: sign-ins, keys, models, erasures, refused requests."""
    from storage.clock import now_ms
    from storage.records.audit import Audit, AuditFilter
    from storage.records.audit_event import Action

    if action and action not in list(Action):
        raise typer.BadParameter(f"the actions are {', '.join(Action)}")
    wanted = AuditFilter(Action(action) if action else None, actor or None, key or None, now_ms() - span_ms(since))
    with database() as records:
        found = Audit(records).newest(wanted, limit)
    if as_json:
        show_json([{"at": timestamp(one.at_ms), "count": one.count, **asdict(one.event)} for one in found])
        return
    for one in found:
        event = one.event
        pairs = (f"{name}={value}" for name, value in asdict(event).items() if value and name != "action")
        typer.echo(f"{timestamp(one.at_ms)}  {event.action:18} x{one.count:<4} {'  '.join(pairs)}")
