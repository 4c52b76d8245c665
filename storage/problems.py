"""Errors as RFC 9457 problem documents, both in HTTP responses and in jobs."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict


@dataclass(frozen=True)
class Kind:
    """A problem code's HTTP status and title, and whether the same request can succeed later."""

    status: int
    title: str
    retryable: bool = False


KINDS = {
    "invalid_request": Kind(400, "The request is not valid"),
    "unauthorized": Kind(401, "Authentication required"),
    "forbidden": Kind(403, "Permission denied"),
    "not_found": Kind(404, "Not found"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "no_confidence": Kind(404, "The mask has no confidence map"),
    "no_guarantee": Kind(404, "The model version has no inner and outer masks of this class"),
    "not_acceptable": Kind(406, "Not available in an acceptable format"),
    "job_not_finished": Kind(409, "The job has not finished", retryable=True),
    "already_terminal": Kind(409, "The job has already ended"),
    "not_retryable": Kind(409, "Only a job without a mask can be retried"),
    "idempotency_in_progress": Kind(409, "A request with this idempotency key is in progress", retryable=True),
    "batch_closed": Kind(409, "The batch is closed"),
    "no_consent": Kind(409, "The sender did not consent to training"),
    "nothing_to_roll_back": Kind(409, "The alias has no earlier version"),
    "rollout_open": Kind(409, "Another rollout is open"),
    "no_rollout": Kind(409, "No rollout is open"),
    "version_condemned": Kind(409, "The version was rolled back before"),
    "gate_not_passed": Kind(409, "The gate has not passed the candidate"),
    "request_timeout": Kind(408, "The request arrived too slowly", retryable=True),
    "gone": Kind(410, "The resource was erased"),
    "payload_too_large": Kind(413, "The upload is too large"),
    "unsupported_media_type": Kind(415, "Unsupported media type"),
    "unprocessable_image": Kind(422, "The image cannot be processed"),
    "mask_too_detailed": Kind(422, "The mask is too detailed for polygons"),
    "unknown_model": Kind(422, "Unknown model"),
    "unknown_dataset": Kind(422, "The data set version does not exist or is withdrawn"),
    "idempotency_key_reused": Kind(422, "The idempotency key was used for another request"),
    "custom_id_reused": Kind(422, "The custom_id is taken by another image of the batch"),
    "quota_exceeded": Kind(403, "Storage quota exceeded"),
    "queue_full": Kind(429, "The queue is full", retryable=True),
    "rate_limited": Kind(429, "Rate limit exceeded", retryable=True),
    "too_many_at_once": Kind(429, "Too many requests at once", retryable=True),
    "internal": Kind(500, "Internal server error", retryable=True),
    "unavailable": Kind(503, "Service unavailable", retryable=True),
    "not_accepting": Kind(503, "No new work is accepted at the moment", retryable=True),
    "image_decode_failed": Kind(422, "The image is damaged"),
    # Of jobs; a request gets them only if it waits for the mask itself.
    "model_unavailable": Kind(500, "The requested model version was removed"),
    "storage_error": Kind(500, "The upload could not be read"),
    "poisoned": Kind(500, "Processing this image crashed its worker three times"),
    "canceled": Kind(409, "The job was canceled"),
    "expired": Kind(409, "The job's deadline expired", retryable=True),
}


class ProblemDocument(TypedDict):
    """A problem in JSON. `instance`: the path of the request or job that has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    request_id: NotRequired[str]
    retry_after_s: NotRequired[int]


@dataclass
class Problem(Exception):
    """A request or an image is refused. `code`: a key of KINDS."""

    code: str
    detail: str
    retry_after_s: int | None = None

    def to_dict(self, instance: str, request_id: str | None = None) -> ProblemDocument:
        kind = KINDS[self.code]
        document: ProblemDocument = {
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
    """Redis, SQL or the object store is unavailable. The request itself may be valid."""


class Outage(Unavailable):
    """A database server does not answer; it may do so later, without any change here."""
