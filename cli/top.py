"""`segue top`: what the installation does now."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.server import connected
from segue_client.commands.output import JsonOption, show_json
from segue_client.terminal import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from storage.connection import Storage
    from storage.queue.overview import Overview

SHOWN_PARTIES = 15
NAMES = {"lane", "tenant", "worker", "model", "stage", "failure"}  # the other columns are numbers

app = typer.Typer()


@app.command(rich_help_panel="Operator", epilog="Example: segue top --every 5")
def top(
    once: Annotated[bool, typer.Option("--once", help="Show one snapshot, and exit.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two snapshots.", min=0.2)] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show the queue by lane and tenant, the workers, the stages and the failures, until Ctrl-C.

    With --json, print one snapshot.
    """
    from rich.console import Console
    from rich.live import Live

    from storage.queue.overview import overview

    with connected() as storage:
        if as_json:
            show_json(asdict(overview(storage.jobs, storage.settings.workers)))
        elif once:
            Console().print(render(overview(storage.jobs, storage.settings.workers)))
        else:
            with Live(_current(storage), screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(every)
                    live.update(_current(storage), refresh=True)


def _current(storage: "Storage") -> "RenderableType":
    """An outage is a reason to keep watching, so show it and go on."""
    import redis

    from storage.queue.overview import overview

    try:
        return render(overview(storage.jobs, storage.settings.workers))
    except redis.RedisError as error:
        return f"Redis does not answer: {type(error).__name__}"


def render(found: "Overview") -> "RenderableType":
    from rich.console import Group

    counters = found.counters
    ended = ", ".join(f"{count} {status}" for status, count in counters.ended.items())
    return Group(
        *_orders(found),
        f"{found.images_per_s:.1f} images/s   accepted {counters.accepted}   ended: {ended}",
        f"attempts {counters.attempts}   leases lost {counters.leases_lost}   requeued {counters.requeued}"
        f"   adopted {counters.adopted}",
        _queue(found),
        _parties(found),
        _workers(found),
        _stages(found),
        _failures(found),
    )


def _orders(found: "Overview") -> "Iterable[RenderableType]":
    from rich.text import Text

    orders = (("PAUSED", found.pause, "no job is claimed"), ("REFUSING", found.refusal, "no new work is accepted"))
    for word, order, effect in orders:
        if order:
            since = datetime.fromtimestamp(order.since_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
            yield Text(f"{word} since {since}, {effect}: {printable(order.reason)}", style="bold")


def _queue(found: "Overview") -> "Table":
    return _table(
        ("lane", "waiting", "running", "oldest s", "backlog s"),
        (
            (
                one.lane,
                one.pending,
                one.running,
                f"{one.oldest_s:.0f}",
                "-" if one.backlog_s is None else f"{one.backlog_s:.0f}",
            )
            for one in found.lanes
        ),
    )


def _parties(found: "Overview") -> "Table":
    rows = ((one.lane, one.party, one.pending) for one in found.parties[:SHOWN_PARTIES])
    table = _table(("lane", "tenant", "waiting"), rows)
    if more := found.parties[SHOWN_PARTIES:]:
        table.add_row("", f"{len(more)} more", str(sum(one.pending for one in more)))
    return table


def _workers(found: "Overview") -> "Table":
    return _table(
        ("worker", "model", "images/s", "memory MB"),
        (
            (
                one.worker,
                ", ".join([*one.models, *(f"refuses {reason}" for reason in one.refused.values())]),
                f"{one.images_per_s:.1f}",
                f"{one.memory_bytes / 1e6:.0f}" if one.memory_bytes else "-",
            )
            for one in found.workers
        ),
    )


def _stages(found: "Overview") -> "Table":
    rows = ((one.stage, f"{one.median_ms:.0f}", f"{one.p95_ms:.0f}") for one in found.stages)
    return _table(("stage", "median ms", "95 % ms"), rows)


def _failures(found: "Overview") -> "Table":
    codes = sorted({*found.recent_failures, *(code for code, count in found.counters.failed.items() if count)})
    rows = ((code, found.recent_failures.get(code, 0), found.counters.failed.get(code, 0)) for code in codes)
    return _table(("failure", "recent", "in all"), rows)


def _table(columns: tuple[str, ...], rows: "Iterable[tuple[object, ...]]") -> "Table":
    """Names may come from other people, so no character of theirs may control the terminal or the markup."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column in NAMES else "right")
    for row in rows:
        table.add_row(*(escape(printable(str(cell))) for cell in row))
    return table
