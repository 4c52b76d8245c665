"""The operations on rollouts."""

from storage.rollouts.deciding import Check
from storage.rollouts.rollout import Policy, State
from web.api.rollouts import Start, Why
from web.openapi.inputs import flat
from web.openapi.json_schema import (
    COUNT,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    closed,
    exactly,
    identifier,
    listed,
    one_of,
    or_null,
    ref,
)
from web.openapi.operation import JSON, Answer, Body, Operation, Operations

SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
CHECK: Schema = closed(
    {
        "name": one_of(Check),
        "against": {**COUNT, "description": "Events that count against the canary."},
        "of": {**COUNT, "description": "All events of the check."},
        "open": {**COUNT, "description": "Events whose end is unknown, because a worker has died."},
        "allowed": {**SHARE, "description": "The largest share of these events that may count against the canary."},
        "evidence_against": {**NUMBER, "description": "Evidence that the canary is worse than allowed, an e-value."},
        "evidence_within": or_null(
            NUMBER, "Evidence that the canary keeps the limit, an e-value; null if no step needs it."
        ),
        "missing": or_null(
            COUNT, "How many more events `evidence_within` needs; null: it never suffices at this rate."
        ),
        "missing_s": or_null(NUMBER, "How many seconds these events take, at the rate of this step; null if unknown."),
    }
)
ROLLOUT: Schema = closed(
    {
        "id": identifier("rol"),
        "object": exactly("rollout"),
        "version": TEXT,
        "stable": {**TEXT, "description": "The version that `version` replaces."},
        "state": one_of(State),
        "reason": {**TEXT, "description": "Why the rollout ended or is paused."},
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
        "evidence_against": {
            **NUMBER,
            "description": "The mean evidence against the canary of all checks, an e-value.",
        },
        "rolled_back_at": {**NUMBER, "description": "The canary is rolled back when `evidence_against` reaches this."},
        "advances_at": {**NUMBER, "description": "The next step needs `evidence_within` to reach this for each limit."},
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
                "description": "The condemned versions: version → why, when and by which rollout it was rolled back.",
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
        problems=("already_terminal", "invalid_request", "no_rollout", "not_found", "payload_too_large"),
    ),
}  # fmt: skip
