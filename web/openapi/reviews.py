"""The operations of the review inbox."""

from storage.feedback import Verdict
from storage.training.reviews import Source, State
from web.api.reviews import Judgement, Query
from web.openapi.inputs import fields_of, flat, form, query_of
from web.openapi.job_schemas import LABEL
from web.openapi.json_schema import (
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

SUMMARY: Schema = {
    "job_id": identifier("job"),
    "object": exactly("review"),
    "tenant": TEXT,
    "state": one_of(State),
    "priority": {**NUMBER, "description": "0 to 1; 0 before the job is scored."},
    "scores": or_null({"type": "object", "additionalProperties": or_null(NUMBER)}, "The parts of the priority."),
    "model": {**TEXT, "description": "The version that made the mask."},
    "verdict": or_null(one_of(Verdict), "The sender's."),
    "consented_at": or_null(TIME),
    "decided_by": or_null(TEXT, "Tenant and key id, or the operator."),
    "decided_at": or_null(TIME),
    "note": TEXT,
    "links": closed({"self": PATH, "photo": PATH, "mask": PATH, "decision": PATH}),
}
REVIEW: Schema = closed(
    {
        **SUMMARY,
        "consent_wording": or_null(TEXT),
        "corrected": {"type": "boolean", "description": "Whether the sender's feedback has a corrected mask."},
        "mask_source": or_null(one_of(Source), "Of an accepted mask."),
        "width": or_null(COUNT),
        "height": or_null(COUNT),
        "labels": listed(LABEL),
    }
)
SCHEMAS: Schema = {
    "Review": REVIEW,
    "ReviewList": closed({"object": exactly("list"), "data": listed(closed(SUMMARY)), "next_cursor": or_null(TEXT)}),
}
ONE_REVIEW = ("not_found", "no_consent", "gone", "already_terminal")

OPERATIONS: Operations = {
    "reviews.listing": Operation(
        tag="training",
        parameters=query_of(Query),
        answers={
            200: Answer("A page of reviews, which may lag by seconds.", {JSON: ref("ReviewList")}, optional=("Link",))
        },
        problems=("invalid_request",),
    ),
    "reviews.review": Operation(
        tag="training", answers={200: Answer("The review.", {JSON: ref("Review")})}, problems=ONE_REVIEW
    ),
    "reviews.photo": Operation(
        tag="training",
        answers={200: Answer("The photo as JPEG.", {"image/jpeg": BINARY})},
        problems=(*ONE_REVIEW, "image_decode_failed"),
    ),
    "reviews.mask": Operation(
        tag="training", answers={200: Answer("The mask as PNG.", {"image/png": BINARY})}, problems=ONE_REVIEW
    ),
    "reviews.decide": Operation(
        tag="training",
        body=Body(
            {
                JSON: flat(Judgement),
                "multipart/form-data": form({"mask": BINARY, **fields_of(Judgement)}, ("mask", "decision")),
            }
        ),
        answers={200: Answer("The review with the decision.", {JSON: ref("Review")})},
        problems=("invalid_request", *ONE_REVIEW, "payload_too_large", "unsupported_media_type", "unprocessable_image"),
    ),
}
