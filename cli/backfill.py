"""`segue backfill`: segments stored photos again with a new model version."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import JsonOption, fail, say, show_json

if TYPE_CHECKING:
    from storage.backfill.backfill import Plan
    from storage.backfill.reruns import Made
    from storage.connection import Storage

app = typer.Typer()


@app.command(rich_help_panel="Models", epilog="Example: segue backfill --disagreement --dry-run")
def backfill(
    *,
    version: Annotated[str, typer.Option(help="Model version; default: the one that stable points at.")] = "",
    tenant: Annotated[str, typer.Option(help="Only this tenant's photos.")] = "",
    disagreement: Annotated[
        bool, typer.Option("--disagreement", help="First the photos whose masks are most likely to change.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    ahead: Annotated[int, typer.Option(min=1, help="Keep at most this many of its jobs open at once.")] = 2000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the photos.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show the progress of the jobs made so far.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Segment stored photos again with a new model version, at bulk priority. Old results stay.

    Without --disagreement, the newest photos come first. After an interruption, the same command continues.
    """
    from storage.backfill.backfill import Plan, run
    from storage.records.audit_event import Action

    with connected() as storage:
        chosen = version or storage.models.aliases(fresh=True).get("stable") or fail("stable points at no version")
        if storage.models.card(chosen) is None:
            fail(f"{chosen} is not in the registry")
        if status:
            _show_status(_status(storage, chosen, tenant), as_json)
            return
        evidence = storage.rollouts.shadow_of(chosen)
        plan = Plan(chosen, tenant, ahead, limit, disagreement, evidence)
        if dry_run:
            _show_forecast(_forecast(storage, plan), as_json)
            return
        audit(storage, operated(Action.BACKFILL_STARTED, chosen, tenant))
        made = run(storage, plan, _show_progress)
    if as_json:
        show_json({"version": chosen, **asdict(made)})
    else:
        say(f"{chosen}: {_line(made)}. Follow them with `segue backfill --status`.")


def _show_progress(made: "Made") -> None:
    say(_line(made), err=True)


def _line(made: "Made") -> str:
    others = ((made.erased, "erased meanwhile"), (made.canceled, "left out because their owner canceled the batch"))
    return ", ".join([f"{made.queued} photos queued", *(f"{number} {what}" for number, what in others if number)])


def _forecast(storage: "Storage", plan: "Plan") -> dict[str, Any]:
    """The number of photos, of masks that are likely to change, and the seconds for all; the latter two may be None."""
    from storage.backfill.backfill import count
    from storage.backfill.likelihood import by_likelihood, likelihoods, limits

    counts = count(storage, plan)
    rates = likelihoods(plan.evidence) if plan.evidence else [None] * len(counts)
    bins = [
        {"confidence": max(0.0, limits(place)[0]), "photos": counts[place], "likelihood": rates[place]}
        for place in by_likelihood(plan.evidence)
    ]
    changes = sum(number * (rate or 0) for number, rate in zip(counts, rates, strict=True)) if plan.evidence else None
    eta_s = storage.jobs.queue().backlog_s(storage.settings.workers, more=sum(counts))
    return {
        "version": plan.version, "photos": sum(counts), "expected_changes": changes, "eta_s": eta_s, "bins": bins,
    }  # fmt: skip


def _show_forecast(forecast: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(forecast)
        return
    changes, eta_s = forecast["expected_changes"], forecast["eta_s"]
    say(f"{forecast['version']}: {forecast['photos']} photos")
    say(f"masks likely to change: {'unknown, this version has had no rollout' if changes is None else round(changes)}")
    for one in forecast["bins"]:
        rate = "" if one["likelihood"] is None else f"  {one['likelihood']:7.1%} likely to change"
        say(f"  confidence from {one['confidence']:.2f}: {one['photos']:8} photos{rate}")
    pace = "unknown, no pace has been measured" if eta_s is None else f"{eta_s / 3600:.1f} h"
    say(f"time for these and all waiting jobs, at the pace measured last: {pace}")


def _status(storage: "Storage", version: str, tenant: str) -> list[dict[str, Any]]:
    """The counts of each batch that a backfill with the version has opened."""
    from storage import keys
    from storage.job import Status

    owners = [
        (owner, batch_id)
        for owner, batch_id in storage.batches.all()
        if tenant in ("", owner) and batch_id == keys.backfill_batch(version, owner, keys.created_ms(batch_id))
    ]
    found = [batch for one in owners if (batch := storage.batches.get(*one))]
    return [
        {
            "tenant": batch.spec.tenant,
            "batch": batch.id,
            "day": datetime.fromtimestamp(keys.created_ms(batch.id) / 1000, UTC).date().isoformat(),
            "status": batch.status,
            **{status.value: batch.counts[status] for status in Status},
        }
        for batch in found
    ]


def _show_status(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    for row in rows:
        counts = ", ".join(f"{row[name]} {name}" for name in list(row)[4:] if row[name])
        say(f"{row['day']}  {row['batch']}  {row['tenant']:20} {row['status']:16} {counts}")
