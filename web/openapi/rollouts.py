"""The operations of gradual replacement."""

from storage.rollouts.deciding import Check
from storage.rollouts.rollout import Policy, State
from web.api.rollouts import Start, Why
from web.openapi.inputs import flat
from web.openapi.operation import JSON, Answer, Body, Operation, Operations
from web.openapi.schemas import COUNT, NUMBER, TEXT, TIME, Schema, closed, exactly, identifier, listed, or_null, ref

SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
CHECK: Schema = closed(
    {
        "name": {"type": "string", "enum": [check.value for check in Check]},
        "against": {**COUNT, "description": "Events that speak against the canary."},
        "of": {**COUNT, "description": "All events of the check."},
        "open": {**COUNT, "description": "Events whose end is unknown, because a worker has died."},
        "allowed": {**SHARE, "description": "The share of them that the limit allows."},
        "evidence_against": {**NUMBER, "description": "The e-value of `the canary is worse than allowed`."},
        "evidence_within": or_null(NUMBER, "The e-value of `it keeps the limit`; null if no step needs it."),
        "missing": or_null(COUNT, "Events until `evidence_within` suffices; null: never at this rate."),
        "missing_s": or_null(NUMBER, "The same in seconds, at the rate of this step; null if unknown."),
    }
)
ROLLOUT: Schema = closed(
    {
        "id": identifier("rol"),
        "object": exactly("rollout"),
        "version": TEXT,
        "stable": {**TEXT, "description": "The version that it replaces."},
        "state": {"type": "string", "enum": [state.value for state in State]},
        "reason": {**TEXT, "description": "Why it ended, or is paused."},
        "started_by": TEXT,
        "started_at": TIME,
        "ended_at": or_null(TIME),
        "policy": closed(
            {"steps": listed(SHARE), **{name: NUMBER for name in Policy.__dataclass_fields__ if name != "steps"}}
        ),
        "steps": listed(
            closed(
                {
                    "share": SHARE,
                    "started_at": TIME,
                    "counts": {"type": "object", "additionalProperties": COUNT},
                }
            )
        ),
        "checks": listed(CHECK),
        "evidence_against": {**NUMBER, "description": "The mean e-value of all checks."},
        "rolled_back_at": {**NUMBER, "description": "`evidence_against` that rolls the canary back."},
        "advances_at": {**NUMBER, "description": "`evidence_within` that each limit needs for the next step."},
        "next_share": SHARE,
        "next_step_s": or_null(NUMBER, "Seconds until the next step, at the rate of this one; null if unknown."),
    }
)
CONDEMNED: Schema = closed({"reason": TEXT, "rollout": identifier("rol"), "at": TIME})
SCHEMAS: Schema = {
    "Rollout": ROLLOUT,
    "RolloutList": closed(
        {
            "object": exactly("list"),
            "data": listed(ref("Rollout")),
            "condemned": {
                "type": "object",
                "additionalProperties": CONDEMNED,
                "description": "By version: those that were rolled back.",
            },
        }
    ),
}

OPERATIONS: Operations = {
    "rollouts.listing": Operation(tag="models", answers={200: Answer("All rollouts.", {JSON: ref("RolloutList")})}),
    "rollouts.start": Operation(
        tag="models",
        body=Body({JSON: flat(Start)}),
        answers={201: Answer("The rollout.", {JSON: ref("Rollout")})},
        problems=(
            "invalid_request", "payload_too_large", "rollout_open", "unknown_model", "version_condemned",
        ),
    ),
    "rollouts.rollout": Operation(
        tag="models", answers={200: Answer("The rollout.", {JSON: ref("Rollout")})}, problems=("not_found",)
    ),
    "rollouts.change": Operation(
        tag="models",
        body=Body({JSON: flat(Why)}),
        answers={200: Answer("The rollout now.", {JSON: ref("Rollout")})},
        problems=("already_terminal", "invalid_request", "not_found", "payload_too_large"),
    ),
}  # fmt: skip
