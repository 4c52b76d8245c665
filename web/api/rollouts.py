"""Gradual replacement of the stable model version. Requires the scope `admin`."""

from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from storage import clock
from storage.models import AliasMoved
from storage.problems import Problem
from storage.records.audit_event import Action
from storage.rollouts.deciding import Finding, decide, missing_for, wait_s
from storage.rollouts.evidence import e_value
from storage.rollouts.policies import policy_of
from storage.rollouts.rollout import TRANSITIONS, Rollout
from web.access.auditing import note
from web.access.caller import caller
from web.documents import timestamp
from web.parsing import json_body
from web.services import connected

LONGEST_REASON = 500

blueprint = Blueprint("rollouts", __name__, url_prefix="/v1/rollouts")


class Start(BaseModel):
    """`policy`: entries that replace those of ROLLOUT_POLICY.

    `pardon`: start even if the version was rolled back before.
    """

    model_config = ConfigDict(extra="forbid")

    version: str
    policy: dict[str, Any] = {}
    pardon: bool = False


class Why(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=LONGEST_REASON)


@blueprint.get("")
def listing() -> Response:
    """List all rollouts, the newest first, and the condemned versions with the reasons for their rollbacks."""
    rollouts = connected().rollouts
    data = [_document(rollout) for rollout in rollouts.newest_first()]
    condemned = {
        version: {"reason": why.reason, "rollout": why.rollout, "at": timestamp(why.at_ms)}
        for version, why in rollouts.register().condemned.items()
    }
    return jsonify(object="list", data=data, condemned=condemned)


@blueprint.post("")
def start() -> tuple[Response, int]:
    """Start a rollout: the version gets a small share of the jobs, and a larger one with each step."""
    wanted, storage = json_body(Start), connected()
    policy = policy_of(storage.settings, wanted.policy)
    rollout = storage.rollouts.start(wanted.version, policy, caller().name, wanted.pardon)
    note(Action.ROLLOUT_STARTED, wanted.version, rollout.id)
    return jsonify(_document(rollout)), 201


@blueprint.get("/<rollout_id>")
def rollout(rollout_id: str) -> Response:
    """Get a rollout: its steps, the evidence for and against the canary, and what the next step still needs."""
    return jsonify(_document(_find(rollout_id)))


@blueprint.post("/<rollout_id>/<action>")
def change(rollout_id: str, action: str) -> Response:
    """Pause, resume, promote at once, or abort the open rollout."""
    if action not in TRANSITIONS:
        raise Problem("not_found", f"The actions are {', '.join(TRANSITIONS)}.")
    why = json_body(Why).reason

    def transition(found: Rollout) -> Rollout:
        if found.id != rollout_id:
            raise Problem("already_terminal", "The rollout has ended.")
        return TRANSITIONS[action](found, why, clock.now_ms())

    if _find(rollout_id).state.final:
        raise Problem("already_terminal", "The rollout has ended.")
    try:
        changed = connected().rollouts.change(transition)
    except AliasMoved as error:
        raise Problem("already_terminal", f"{error}.") from error
    note(Action.ROLLOUT_CHANGED, rollout_id, f"{action} {why}".strip())
    return jsonify(_document(changed))


def _find(rollout_id: str) -> Rollout:
    found = connected().rollouts.find(rollout_id)
    if found is None:
        raise Problem("not_found", "No such rollout.")
    return found


def _document(rollout: Rollout) -> dict[str, Any]:
    now_ms, policy = rollout.ended_ms or clock.now_ms(), rollout.policy
    decision = decide(rollout, now_ms)
    return {
        "id": rollout.id,
        "object": "rollout",
        "version": rollout.version,
        "stable": rollout.stable,
        "state": rollout.state,
        "reason": rollout.reason,
        "started_by": rollout.by,
        "started_at": timestamp(rollout.started_ms),
        "ended_at": timestamp(rollout.ended_ms) if rollout.ended_ms else None,
        "policy": {name: getattr(policy, name) for name in policy.__dataclass_fields__},
        "steps": [
            {"share": step.share, "started_at": timestamp(step.started_ms), "counts": dict(step.counts)}
            for step in rollout.steps
        ],
        "checks": [_check(finding, rollout, now_ms) for finding in decision.findings],
        "evidence_against": round(e_value(decision.against), 4),
        "rolled_back_at": 1 / policy.false_rollbacks,
        "advances_at": 1 / policy.false_advances,
        "next_share": rollout.next_share,
        "next_step_s": wait_s(rollout, decision, now_ms),
    }


def _check(finding: Finding, rollout: Rollout, now_ms: int) -> dict[str, Any]:
    missing = missing_for(finding, rollout, now_ms)
    return {
        "name": finding.check,
        "against": finding.hits,
        "of": finding.events,
        "open": finding.open,
        "allowed": finding.allowed,
        "evidence_against": round(e_value(finding.against), 4),
        "evidence_within": None if finding.within is None else round(e_value(finding.within), 4),
        "missing": missing.events,
        "missing_s": missing.seconds,
    }
