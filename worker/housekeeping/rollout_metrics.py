"""Exports the current or last rollout in the metrics of this process."""

from storage import clock
from storage.rollouts.deciding import Check, decide
from storage.rollouts.evidence import e_value
from storage.rollouts.rollout import Rollout, State
from telemetry import metrics


def show(rollout: Rollout | None) -> None:
    """Set the metrics. Called each time the housekeeper has decided; None: there has been no rollout."""
    running = rollout if rollout and rollout.state is State.RUNNING else None
    evidence = dict.fromkeys(Check, 1.0)
    if running:
        findings = decide(running, clock.now_ms()).findings
        evidence = {one.check: e_value(one.against) for one in findings}
    for check, value in evidence.items():
        metrics.ROLLOUT_EVIDENCE.labels(check).set(value)
    metrics.ROLLOUT_SHARE.set(running.step.share if running else 0)
    rolled_back = rollout is not None and rollout.state is State.ROLLED_BACK
    metrics.ROLLED_BACK.set(rollout.ended_ms / 1000 if rollout and rolled_back else 0)
