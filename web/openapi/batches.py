"""The operations of batches."""

from web.api.batches import MOST_PARTS, Opening
from web.openapi.inputs import IDEMPOTENCY_KEY, IF_NONE_MATCH, PREFER, flat, form, query
from web.openapi.json_schema import listed, ref
from web.openapi.operation import BINARY, JSON, NDJSON, Answer, Body, Operation, Operations, events, one_state
from web.uploads import IMAGE_FIELD

ONE_BATCH = ("not_found",)
BATCH = {JSON: ref("Batch")}
CHANGED = {202: Answer("The batch as it is now.", BATCH)}
IMAGES = {
    **listed(BINARY),
    "minItems": 1,
    "maxItems": MOST_PARTS,
    "description": "Each part's file name is its `custom_id`, a relative path.",
}

OPERATIONS: Operations = {
    "batches.create": Operation(
        tag="batches",
        summary="Open a batch.",
        parameters=(IDEMPOTENCY_KEY,),
        body=Body({JSON: flat(Opening)}),
        answers={201: Answer("The batch is open.", BATCH, ("Location",), ("Idempotency-Replayed",))},
        problems=(
            "invalid_request",
            "idempotency_in_progress",
            "payload_too_large",
            "unknown_model",
            "idempotency_key_reused",
            "not_accepting",
        ),
    ),
    "batches.append": Operation(
        tag="batches",
        summary="Add images. Repeating an image under its custom_id has no effect; another image is refused.",
        body=Body({"multipart/form-data": form({IMAGE_FIELD: IMAGES}, (IMAGE_FIELD,))}),
        answers={202: Answer("The outcome of each image.", {JSON: ref("Appended")})},
        problems=(
            "invalid_request",
            *ONE_BATCH,
            "batch_closed",
            "payload_too_large",
            "queue_full",
            "not_accepting",
            "quota_exceeded",
        ),
    ),
    "batches.close": Operation(
        tag="batches",
        summary="Close the batch: it accepts no more images.",
        answers=CHANGED,
        problems=ONE_BATCH,
    ),
    "batches.cancel": Operation(tag="batches", answers=CHANGED, problems=ONE_BATCH),
    "batches.retry": Operation(tag="batches", answers=CHANGED, problems=(*ONE_BATCH, "queue_full", "not_accepting")),
    "batches.status": Operation(
        tag="batches",
        parameters=(PREFER, IF_NONE_MATCH),
        answers=one_state("The batch.", "Batch"),
        problems=ONE_BATCH,
    ),
    "batches.events": Operation(
        tag="batches",
        answers=events(
            "Events `batch.progress`, each with the batch as its data.",
            "Batch",
            ["batch.progress"],
            "The batch's `ETag` without quotes.",
        ),
        problems=ONE_BATCH,
    ),
    "batches.results": Operation(
        tag="batches",
        parameters=(query("after", "The cursor of the last line received.", {"type": "integer", "default": 0}),),
        answers={
            200: Answer(
                "One line per ended item.",
                {NDJSON: {"type": "string", "description": "Each line is an Item."}},
            )
        },
        problems=("invalid_request", *ONE_BATCH),
    ),
    "batches.archive_zip": Operation(
        tag="batches",
        answers={
            200: Answer("masks/, manifest.json and coco.json.", {"application/zip": BINARY}, ("Content-Disposition",))
        },
        problems=ONE_BATCH,
    ),
}
