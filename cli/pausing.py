"""`segue pause` and `segue resume`: whether workers claim jobs, and whether the web server accepts new work."""

from typing import Annotated

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import fail, say

PANEL = "Operator"

app = typer.Typer()


@app.command(rich_help_panel=PANEL, epilog='Example: segue pause --why "new disks until 14:00"')
def pause(
    why: Annotated[str, typer.Option("--why", help="The reason, which senders read.")],
    refuse: Annotated[
        bool, typer.Option("--refuse", help="Refuse new work instead, while workers empty the queue.")
    ] = False,
) -> None:
    """Let workers claim no more jobs until `segue resume`. Photos are still accepted, and wait.

    Running jobs continue. With --refuse, the web server refuses new photos, batches and retries instead, and workers
    empty the queue. To stop both, give both commands. Safe to repeat: the last reason counts.
    """
    from storage.records.audit_event import Action

    reason = why.strip()
    if not reason:
        raise typer.BadParameter("--why must not be empty")
    with connected() as storage:
        if refuse:
            storage.pausing.refuse(reason)
            audit(storage, operated(Action.QUEUE_REFUSING, detail=reason))
            queue = storage.jobs.queue()
            unfinished = sum(queue.pending.values()) + sum(queue.running.values())
            say(f"refusing: no new work is accepted until `segue resume`; {unfinished} jobs are unfinished")
        else:
            storage.pausing.pause(reason)
            audit(storage, operated(Action.QUEUE_PAUSED, detail=reason))
            say("paused: no job is claimed until `segue resume`")


@app.command(rich_help_panel=PANEL, epilog="Example: segue resume")
def resume() -> None:
    """Let workers claim jobs, and the web server accept new work, again after `segue pause`."""
    from storage.records.audit_event import Action

    with connected() as storage:
        waiting = sum(storage.jobs.queue().pending.values())
        if not storage.pausing.resume():
            fail("not paused")
        storage.tickets.send(storage.jobs.tickets_missing())
        audit(storage, operated(Action.QUEUE_RESUMED))
    say(f"resumed: {waiting} jobs waited")
