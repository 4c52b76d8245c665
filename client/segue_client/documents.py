"""What the API answers, as values: jobs, batches' items, and the problems it refuses with."""

from dataclasses import dataclass, field, fields
from typing import Any, Self

import httpx

FORMATS = ("index", "overlay", "cutout", "ids", "confidence", "geojson", "rle")
UNFINISHED = ("open", "queued", "running")


class ProblemError(Exception):
    """The server refused; `document` is the problem document (RFC 9457)."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(f"{document.get('title', 'HTTP error')}: {document.get('detail', '')}")
        self.document = document
        self.status = int(document.get("status", 0))
        self.code = str(document.get("code", ""))


class ChecksumError(Exception):
    """What arrived is not what the worker wrote."""


class _Document:
    """Made of those members of an answer that the client knows: a newer server may send more."""

    @classmethod
    def of(cls, document: dict[str, Any], /, **more: Any) -> Self:
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in (document | more).items() if name in known})


class _Fate(_Document):
    """A document with a status."""

    status: str

    @property
    def final(self) -> bool:
        """An item of a batch is not while it runs once more after `Batch.retry`."""
        return self.status not in UNFINISHED


@dataclass(frozen=True)
class Job(_Fate):
    """`queue`: while it waits, its place and when it will be done; `document`: everything the server said."""

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
class Outcome(_Document):
    """What became of one image of `Batch.append`: `accepted`, `known` (was there before) or `refused`."""

    custom_id: str
    outcome: str
    job_id: str | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class Item(_Fate):
    """One finished image of a batch; `cursor` grows in the order of finishing."""

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
    """Raises ProblemError where something answered that is not Segue."""
    try:
        return dict(answer.json())
    except (ValueError, TypeError) as error:
        detail = f"{answer.url.copy_with(query=None)} answers with something else."
        raise ProblemError({"title": "Not Segue", "status": answer.status_code, "detail": detail}) from error


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem document; made up where something between here and the server answered without one."""
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return document_of(answer)
    title, detail = answer.reason_phrase or "HTTP error", ""
    if answer.has_redirect_location:
        detail = "The address redirects to another one, which is not followed: name that one."
    elif not answer.text.lstrip().startswith("<"):
        detail = answer.text[:200]
    return {"title": title, "status": answer.status_code, "detail": detail, "code": ""}
