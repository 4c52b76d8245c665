"""The API's documents as values: jobs, items of batches, and problems."""

from dataclasses import dataclass, field, fields
from typing import Any, Self

import httpx

FORMATS = ("index", "overlay", "cutout", "soft", "ids", "confidence", "inner", "outer", "geojson", "rle")
UNFINISHED = ("open", "queued", "running")


class ProblemError(Exception):
    """The server refused the request; `document` is its problem document (RFC 9457)."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(f"{document.get('title', 'HTTP error')}: {document.get('detail', '')}")
        self.document = document
        self.status = int(document.get("status", 0))
        self.code = str(document.get("code", ""))


class ChecksumError(Exception):
    """The received mask does not match its SHA-256."""


class _Document:
    """Built from the JSON members that this client knows; a newer server may send more."""

    @classmethod
    def of(cls, document: dict[str, Any], /, **more: Any) -> Self:
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in (document | more).items() if name in known})


class _WithStatus(_Document):
    status: str

    @property
    def final(self) -> bool:
        """Whether it has ended. An item of a batch that `Batch.retry` runs again has not."""
        return self.status not in UNFINISHED


@dataclass(frozen=True)
class Job(_WithStatus):
    """`queue`: position and ETA, while the job waits; `document`: the server's whole JSON."""

    id: str
    status: str
    links: dict[str, str]
    input: dict[str, Any]
    etag: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    queue: dict[str, Any] | None = None
    document: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class AppendOutcome(_Document):
    """The outcome of one image of `Batch.append`: `accepted`, `known` (sent before) or `refused`."""

    custom_id: str
    outcome: str
    job_id: str | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class Item(_WithStatus):
    """One finished image of a batch; `cursor` increases in the order in which images finish."""

    cursor: int
    custom_id: str
    job_id: str
    status: str
    links: dict[str, str]
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class Counts(_Document):
    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0


def job_of(answer: httpx.Response) -> Job:
    document = document_of(answer)
    return Job.of(document, etag=answer.headers.get("ETag", ""), document=document)


def document_of(answer: httpx.Response) -> dict[str, Any]:
    """Parse the JSON of a response. Raises ProblemError if the sender was not Segue."""
    try:
        return dict(answer.json())
    except (ValueError, TypeError) as error:
        detail = f"{answer.url.copy_with(query=None)} did not return a JSON document."
        raise ProblemError({"title": "Not Segue", "status": answer.status_code, "detail": detail}) from error


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of a response; a substitute if a proxy responded without one."""
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return document_of(answer)
    title, detail = answer.reason_phrase or "HTTP error", ""
    if answer.has_redirect_location:
        detail = "The address redirects to another one. The client does not follow it: use that address."
    elif not answer.text.lstrip().startswith("<"):
        detail = answer.text[:200]
    return {"title": title, "status": answer.status_code, "detail": detail, "code": ""}
