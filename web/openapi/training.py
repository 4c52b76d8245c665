"""The operations of the learning loop's runs, data sets and candidates, and of the drift of inputs."""

from storage.training.datasets import Split
from storage.training.runs import Kind, Status
from web.api.training import Submission
from web.openapi.inputs import flat
from web.openapi.job_schemas import LABEL
from web.openapi.json_schema import (
    ANYTHING,
    COUNT,
    NUMBER,
    PATH,
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
from web.openapi.operation import BINARY, JSON, Answer, Body, Operation, Operations

RUN: Schema = closed(
    {
        "id": identifier("run"),
        "object": exactly("run"),
        "kind": one_of(Kind),
        "status": one_of(Status),
        "parameters": {**ANYTHING, "description": "The kind's parameters, including the version that the run makes."},
        "created_by": TEXT,
        "created_at": TIME,
        "finished_at": or_null(TIME),
        "progress": closed({"stage": TEXT, "done": COUNT, "total": COUNT, "figures": ANYTHING}),
        "trainer": TEXT,
        "cancel_requested": {"type": "boolean"},
        "result": {
            **ANYTHING,
            "description": "What the run has made; `next`: the run that follows; `not_followed`: why none does.",
        },
        "reason": {**TEXT, "description": "Why the run did not succeed."},
        "links": closed({"self": PATH, "cancel": PATH, "log": PATH, "curves": PATH}),
    }
)
DATASET: Schema = closed(
    {
        "id": {**TEXT, "description": "Name and number: `pets/3`."},
        "object": exactly("dataset"),
        "parent": or_null(TEXT),
        "labels": listed(LABEL),
        "photos": closed({split.value: COUNT for split in Split}),
        "corrections": COUNT,
        "left_out": listed(closed({"tenant": TEXT, "job_id": identifier("job"), "reason": TEXT})),
        "withdrawn": {"type": "boolean", "description": "Photos of it were erased: no training starts on it."},
        "erased": listed(identifier("job")),
        "created_at": TIME,
    }
)
CHECK: Schema = closed(
    {
        "name": TEXT,
        "statistic": TEXT,
        "required": TEXT,
        "outcome": {"type": "string", "enum": ["passed", "failed", "undecided", "skipped"]},
        "reason": TEXT,
        "needs": or_null(COUNT, "About how many more photos would decide the check."),
    }
)
CANDIDATE: Schema = closed(
    {
        "id": TEXT,
        "object": exactly("candidate"),
        "dataset": TEXT,
        "start": {**TEXT, "description": "The version that was fine-tuned."},
        "run": identifier("run"),
        "published_at": TIME,
        "metrics": ANYTHING,
        "outcome": {"type": "string", "enum": ["passed", "failed", "undecided", "not judged"]},
        "verdict": or_null(
            closed(
                {
                    "candidate": TEXT,
                    "stable": TEXT,
                    "outcome": {"type": "string", "enum": ["passed", "failed", "undecided"]},
                    "alpha": {**NUMBER, "description": "The part of the shared error rate that this candidate spent."},
                    "power": listed(TEXT),
                    "checks": listed(CHECK),
                }
            )
        ),
    }
)
DRIFT: Schema = closed(
    {
        "object": exactly("drift"),
        "version": TEXT,
        "hours": COUNT,
        "photos": {**COUNT, "description": "How many were counted: one of each micro-batch at most."},
        "drifting": listed(TEXT),
        "features": listed(
            closed(
                {
                    "name": TEXT,
                    "psi": or_null(NUMBER, "Population stability index; null: the training photos do not show it."),
                    "evidence": or_null(NUMBER, "Decimal logarithm of the e-value."),
                    "drifts": {"type": "boolean"},
                    "edges": listed(NUMBER),
                    "categories": listed(TEXT),
                    "training": listed(COUNT),
                    "now": listed(COUNT),
                    "typical_training": or_null({"type": ["number", "string"]}, "Median or commonest category."),
                    "typical_now": or_null({"type": ["number", "string"]}),
                }
            )
        ),
    }
)
SCHEMAS: Schema = {
    "Drift": DRIFT,
    "Run": RUN,
    "RunList": closed({"object": exactly("list"), "data": listed(ref("Run"))}),
    "Dataset": DATASET,
    "DatasetList": closed({"object": exactly("list"), "data": listed(ref("Dataset"))}),
    "Candidate": CANDIDATE,
    "CandidateList": closed({"object": exactly("list"), "data": listed(ref("Candidate"))}),
}

OPERATIONS: Operations = {
    "training.runs": Operation(tag="training", answers={200: Answer("All runs.", {JSON: ref("RunList")})}),
    "training.submit": Operation(
        tag="training",
        body=Body({JSON: flat(Submission)}),
        answers={202: Answer("The run.", {JSON: ref("Run")})},
        problems=(
            "invalid_request", "payload_too_large", "unknown_dataset", "unknown_model", "unsupported_media_type",
        ),
    ),
    "training.run": Operation(
        tag="training", answers={200: Answer("The run.", {JSON: ref("Run")})}, problems=("not_found",)
    ),
    "training.cancel": Operation(
        tag="training",
        answers={200: Answer("The run, which ends soon.", {JSON: ref("Run")})},
        problems=("not_found", "already_terminal"),
    ),
    "training.log": Operation(
        tag="training", answers={200: Answer("The log.", {"text/plain": TEXT})}, problems=("not_found",)
    ),
    "training.curves": Operation(
        tag="training", answers={200: Answer("The curves.", {"image/png": BINARY})}, problems=("not_found",)
    ),
    "training.datasets": Operation(
        tag="training", answers={200: Answer("All versions.", {JSON: ref("DatasetList")})}
    ),
    "training.dataset": Operation(
        tag="training", answers={200: Answer("The version.", {JSON: ref("Dataset")})}, problems=("not_found",)
    ),
    "training.listing": Operation(
        tag="training", answers={200: Answer("All candidates.", {JSON: ref("CandidateList")})}
    ),
    "training.drift": Operation(
        tag="training", answers={200: Answer("The comparison.", {JSON: ref("Drift")})}, problems=("not_found",)
    ),
    "training.promote": Operation(
        tag="training",
        answers={200: Answer("The aliases now.", {JSON: ref("AliasesAnswer")})},
        problems=("unknown_model", "gate_not_passed"),
    ),
}  # fmt: skip
