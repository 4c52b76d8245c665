"""Gradual replacement of the stable model version."""

import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.server import audit, connected, operated, shell_user
from segue_client.commands.output import JsonOption, fail, say, show_json

if TYPE_CHECKING:
    from storage.rollouts.deciding import Missing
    from storage.rollouts.rollout import Rollout

WATCH_S = 2.0

WhyOption = Annotated[str, typer.Option("--why", help="The reason, which the rollout and the audit log keep.")]
PardonOption = Annotated[bool, typer.Option("--pardon", help="Start even if the version was rolled back before.")]
ChangesOption = Annotated[
    list[str], typer.Option("--set", metavar="ENTRY=VALUE", help="Replace an entry of the policy; repeatable.")
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Show it every two seconds until it has ended.")]

app = typer.Typer(no_args_is_help=True, help="Replace the stable version gradually, as far as the evidence allows.")


@app.command(epilog='Example: segue rollout start pets/4 --set "steps=[0.05,0.5]" --set step_s=60')
def start(version: str, changes: ChangesOption = [], pardon: PardonOption = False) -> None:  # noqa: B006
    """Give a version a small share of the jobs, then more with each step, then all.

    The housekeeper advances the rollout, or rolls the version back, as soon as there is enough evidence.
    """
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.rollouts.policies import policy_of

    try:
        given = {name: value for change in changes for name, value in tomllib.loads(change).items()}
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"--set: {error}") from error
    with connected() as storage:
        try:
            policy = policy_of(storage.settings, given)
            rollout = storage.rollouts.start(version, policy, shell_user(), pardon)
        except Problem as problem:
            fail(problem.detail)
        audit(storage, operated(Action.ROLLOUT_STARTED, version, rollout.id))
    say(f"{rollout.id}: {version} gets {rollout.step.share:.3g} of the jobs of {rollout.stable}")


@app.command(epilog="Example: segue rollout status --watch")
def status(
    rollout: Annotated[str, typer.Argument(help="Id of a rollout; default: the current or last one.")] = "",
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a rollout: its steps, the evidence, and what the next step still needs and how long that takes."""
    while True:
        with connected() as storage:
            found = storage.rollouts.find(rollout) if rollout else storage.rollouts.register().current
        if found is None:
            fail(f"unknown rollout: {rollout}" if rollout else "there has been no rollout")
        show_json(document(found)) if as_json else _print(found)
        if not watch or found.state.final:
            return
        time.sleep(WATCH_S)


@app.command("list", epilog="Example: segue rollout list")
def list_(as_json: JsonOption = False) -> None:
    """List all rollouts, the newest first, and the condemned versions."""
    with connected() as storage:
        found, condemned = list(storage.rollouts.newest_first()), storage.rollouts.register().condemned
    if as_json:
        documents = [document(rollout) for rollout in found]
        show_json({"rollouts": documents, "condemned": {name: asdict(why) for name, why in condemned.items()}})
        return
    for rollout in found:
        say(f"{rollout.id}  {rollout.version:16} {rollout.state:12} {rollout.reason}")
    for version, why in condemned.items():
        say(f"condemned: {version}: {why.reason}")


@app.command(epilog='Example: segue rollout pause --why "checking a complaint"')
def pause(why: WhyOption = "") -> None:
    """Give the canary no more jobs until `segue rollout resume`."""
    _change("pause", why)


@app.command(epilog="Example: segue rollout resume")
def resume() -> None:
    """Give the canary its share of the jobs again."""
    _change("resume")


@app.command(epilog="Example: segue rollout promote")
def promote(why: WhyOption = "a person's decision") -> None:
    """Make the canary stable at once, without waiting for evidence."""
    _change("promote", why)


@app.command(epilog="Example: segue rollout abort")
def abort(why: WhyOption = "a person's decision") -> None:
    """End the rollout. Stable serves all jobs again; the version is not condemned."""
    _change("abort", why)


def _change(name: str, why: str = "") -> None:
    from storage import clock
    from storage.models import AliasMoved
    from storage.problems import Problem
    from storage.records.audit_event import Action
    from storage.rollouts.rollout import TRANSITIONS

    with connected() as storage:
        try:
            changed = storage.rollouts.change(lambda rollout: TRANSITIONS[name](rollout, why, clock.now_ms()))
        except (Problem, AliasMoved) as error:
            fail(error.detail if isinstance(error, Problem) else str(error))
        audit(storage, operated(Action.ROLLOUT_CHANGED, changed.id, f"{changed.state} {why}".strip()))
    say(f"{changed.id}: {changed.version} is {changed.state}")


def document(rollout: "Rollout") -> dict[str, Any]:
    """The rollout and its evidence, as JSON."""
    from storage.rollouts.deciding import decide

    return {**asdict(rollout), "decision": asdict(decide(rollout, _now_ms(rollout)))}


def _now_ms(rollout: "Rollout") -> int:
    from storage import clock

    return rollout.ended_ms or clock.now_ms()


def _print(rollout: "Rollout") -> None:
    for line in (*_steps(rollout), *_evidence(rollout), *_agreement(rollout)):
        say(line)


def _steps(rollout: "Rollout") -> Iterator[str]:
    from storage.rollouts import counts
    from storage.rollouts.rollout import Arm

    yield f"{rollout.id}  {rollout.stable} → {rollout.version}  {rollout.state}  {rollout.reason}".rstrip()
    for step in rollout.steps:
        canary, stable = (step.count(counts.ended(arm)) for arm in (Arm.CANARY, Arm.STABLE))
        failed = step.count(counts.failed(Arm.CANARY))
        served = f"{canary} jobs of the canary, {failed} of them failed; {stable} jobs of stable"
        yield f"  {100 * step.share:5.1f} %  {served}"


def _evidence(rollout: "Rollout") -> Iterator[str]:
    """A table of the checks (counts, evidence, missing events); then the rollback and the next step."""
    from storage.rollouts.deciding import decide, missing_for, wait_s
    from storage.rollouts.evidence import e_value

    now_ms, policy = _now_ms(rollout), rollout.policy
    decision = decide(rollout, now_ms)
    yield "  check      against      of   allowed  evidence against  within limit  missing"
    for finding in decision.findings:
        within = "-" if finding.within is None else f"{e_value(finding.within):.3g}"
        missing = missing_for(finding, rollout, now_ms)
        yield (
            f"  {finding.check:10} {finding.hits:7} {finding.events:7}  {100 * finding.allowed:6.1f} %"
            f"  {e_value(finding.against):16.3g}  {within:>12}  {_missing(missing)}"
            f"{f', {finding.open} open' if finding.open else ''}"
        ).rstrip()
    yield (
        f"  rolled back at {1 / policy.false_rollbacks:.0f}: now {e_value(decision.against):.3g}; "
        f"advances when each limit has {1 / policy.false_advances:.0f}"
    )
    if not rollout.state.final:
        wait = wait_s(rollout, decision, now_ms)
        shown = "unknown" if wait is None else f"{wait:.0f} s at this rate"
        yield f"  next step: {100 * rollout.next_share:.3g} % in {shown}"


def _agreement(rollout: "Rollout") -> Iterator[str]:
    """The IoU of the two versions' masks on the shadowed photos, for each class."""
    from storage.rollouts import counts

    prefix = counts.either("")
    names = sorted(
        {name.removeprefix(prefix) for step in rollout.steps for name in step.counts if name.startswith(prefix)}
    )
    found = [(name, rollout.total(counts.both(name)), rollout.total(counts.either(name))) for name in names]
    if shown := ", ".join(f"{name} {both / either:.3f}" for name, both, either in found if either):
        yield f"  IoU of both masks on shadowed photos: {shown}"


def _missing(missing: "Missing") -> str:
    if missing.events is None:
        return "never at this rate"
    seconds = "" if missing.seconds is None else f" ({missing.seconds:.0f} s)"
    return f"{missing.events}{seconds}" if missing.events else ""
