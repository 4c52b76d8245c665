"""The one shape of an error (RFC 9457), in an HTTP answer and in a job alike."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a code means: HTTP status, title, and whether the same request can succeed later."""

    status: int
    title: str
    retryable: bool = False


KINDS = {
    "invalid_request": Kind(400, "The request is not valid"),
    "unauthorized": Kind(401, "Who calls is not known"),
    "forbidden": Kind(403, "This is not allowed"),
    "not_found": Kind(404, "There is no such thing"),
    "method_not_allowed": Kind(405, "This method is not allowed here"),
    "no_confidence": Kind(404, "The mask was made without a confidence map"),
    "not_acceptable": Kind(406, "The mask cannot be had in any of these types"),
    "job_not_finished": Kind(409, "The job has not finished", retryable=True),
    "already_terminal": Kind(409, "The job ended without a mask"),
    "not_retryable": Kind(409, "Only what ended without a mask can be tried again"),
    "idempotency_in_progress": Kind(409, "The first request with this key is still running", retryable=True),
    "batch_closed": Kind(409, "Nothing can be added to the batch any more"),
    "nothing_to_roll_back": Kind(409, "The alias has no earlier version"),
    "gone": Kind(410, "It is not stored any more"),
    "payload_too_large": Kind(413, "The upload is too large"),
    "unsupported_media_type": Kind(415, "Only JPEG, PNG and WebP are accepted"),
    "unprocessable_image": Kind(422, "The image cannot be accepted"),
    "mask_too_detailed": Kind(422, "The mask is too detailed for polygons"),
    "unknown_model": Kind(422, "There is no such model"),
    "idempotency_key_reused": Kind(422, "This key was used for another request"),
    "custom_id_reused": Kind(422, "The custom_id belongs to another image of the batch"),
    "queue_full": Kind(429, "The queue is full", retryable=True),
    "rate_limited": Kind(429, "Too much for now", retryable=True),
    "internal": Kind(500, "Something went wrong on our side", retryable=True),
    "unavailable": Kind(503, "A part of the service is not available", retryable=True),
    "image_decode_failed": Kind(422, "The image is damaged"),
    # In jobs only.
    "model_unavailable": Kind(500, "The model version that was asked for is gone"),
    "storage_error": Kind(500, "The upload could not be read"),
    "poisoned": Kind(500, "The image ended three workers that had it alone"),
    "canceled": Kind(409, "The job was cancelled"),
    "expired": Kind(409, "The job's deadline passed", retryable=True),
}


@dataclass
class Problem(Exception):
    """Raised where a request or an image is refused; `code` is one of KINDS."""

    code: str
    detail: str
    retry_after_s: int | None = None

    def to_dict(self, instance: str, request_id: str | None = None) -> dict[str, Any]:
        kind = KINDS[self.code]
        document: dict[str, Any] = {
            "type": f"urn:segue:problem:{self.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "retryable": kind.retryable,
        }
        if request_id:
            document["request_id"] = request_id
        if self.retry_after_s is not None:
            document["retry_after_s"] = self.retry_after_s
        return document


class Unavailable(Exception):
    """Redis or the object store did not answer; nothing is wrong with the request."""
