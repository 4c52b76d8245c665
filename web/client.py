"""The Python client of the HTTP API: the standard library and httpx, nothing of the server.

with Client("http://127.0.0.1:8000") as client:
    job = client.wait(client.submit("cat.jpg"), timeout_s=60)
    Path("mask.png").write_bytes(client.mask(job))
"""

import hashlib
import itertools
import json
import math
import random
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

LONG_POLL_S = 25
WATCH_S = 2  # of many jobs each is asked for so long before the next one's turn
QUICKEST_POLL_S = 0.5  # a batch at work changes all the time: asked again no faster than this
LONGEST_PAUSE_S = 8.0
LONGEST_PAGE = 200
LONGEST_LIMITED_S = 600.0
FORMATS = ("index", "overlay", "cutout", "confidence", "rle", "geojson")
UNFINISHED = ("open", "queued", "running")
TRANSIENT = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


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


class Client:
    """Safe to share between threads. Every call tries again for `timeout_s` while the server is away or busy.

    `key`: the API key, where the server asks for one.
    """

    def __init__(self, url: str, timeout_s: float = 60, key: str = "") -> None:
        self.timeout_s = timeout_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=httpx.Timeout(10, read=90, write=90, pool=None)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        image: str | Path | bytes,
        *,
        priority: str = "interactive",
        deadline_s: int | None = None,
        model: str = "stable",
        wait_s: int = 0,
        name: str = "",
    ) -> Job:
        """Send one image, a path or its bytes; with `wait_s` (at most 60) the answer comes when it has ended.

        `name`: the file's, where the image is bytes.
        """
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        name = name or ("image" if isinstance(image, bytes) else Path(image).name)
        headers = {"Idempotency-Key": str(uuid.uuid4())} | ({"Prefer": f"wait={wait_s}"} if wait_s else {})
        options = {"priority": priority, "model": model} | ({"deadline_s": str(deadline_s)} if deadline_s else {})
        parts = [_part(name, content)]
        return _job(self.send("POST", "/v1/jobs", headers=headers, data=options, files=parts))

    def job(self, job_id: str) -> Job:
        return _job(self.send("GET", _path(job_id)))

    def jobs(self, status: str = "", batch_id: str = "", created_after: str = "", limit: int = 50) -> Iterator[Job]:
        """The newest first, seconds behind, at most `limit`; a page is asked for when it is needed."""
        wanted = {"status": status, "batch_id": batch_id, "created_after": created_after}
        asked: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        while limit > 0:
            page = _document(self.send("GET", "/v1/jobs", params={**asked, "limit": min(limit, LONGEST_PAGE)}))
            yield from (Job.of(entry, etag="", document=entry) for entry in page["data"])
            limit -= len(page["data"])
            if not page["next_cursor"]:
                return
            asked["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """Ended without a mask; still `running` while its worker has not heard of it."""
        return _job(self.send("POST", _path(job_id, "/cancel")))

    def retry(self, job_id: str) -> Job:
        """Another attempt for what ended without a mask."""
        return _job(self.send("POST", _path(job_id, "/retry")))

    def erase(self, job_id: str) -> None:
        """Photo, mask and record."""
        self.send("DELETE", _path(job_id))

    def queue(self) -> dict[str, Any]:
        return _document(self.send("GET", "/v1/queue"))

    def wait(self, job: Job, timeout_s: float = 600) -> Job:
        """The ended job. Raises TimeoutError."""
        give_up = time.monotonic() + timeout_s
        while not job.final:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{job.id} is still {job.status}")
            answer = self.poll(job.links["self"], job.etag, left)
            job = job if answer.status_code == httpx.codes.NOT_MODIFIED else _job(answer)
        return job

    def watch(self, jobs: Iterable[Job], timeout_s: float = 3600) -> Iterator[Job]:
        """Each job every time it was looked at, in turns, until all have ended. Raises TimeoutError.

        One that is erased meanwhile comes a last time as it was, with the problem as its `error`.
        """
        give_up, waiting = time.monotonic() + timeout_s, deque(jobs)
        while waiting:
            job, left = waiting.popleft(), give_up - time.monotonic()
            if not job.final and left <= 0:
                raise TimeoutError(f"{len(waiting) + 1} have not ended in time, {job.id} is still {job.status}")
            job = job if job.final else self._looked_at(job, min(left, WATCH_S))
            if not job.final and job.error is None:
                waiting.append(job)
            yield job

    def _looked_at(self, job: Job, wait_s: float) -> Job:
        try:
            answer = self.poll(job.links["self"], job.etag, wait_s)
        except ProblemError as error:
            if error.status not in (404, 410):
                raise
            return replace(job, error=error.document)
        return job if answer.status_code == httpx.codes.NOT_MODIFIED else _job(answer)

    def mask(self, job: Job | Item, format: str = "index") -> bytes:  # noqa: A002 - the API's own word
        """`index`: the palette PNG, checked against its SHA-256; or any other name of the API's formats.

        Raises ChecksumError, ValueError for a format that this job has no link to.
        """
        if job.result is None:
            raise ProblemError(job.error or {"title": "There is no mask", "detail": f"The job is {job.status}."})
        link = job.links.get("mask" if format == "index" else format) if format in FORMATS else None
        if link is None:
            raise ValueError(f"{format}: no format of this mask")
        content = self.send("GET", link).content
        if format == "index" and hashlib.sha256(content).hexdigest() != job.result["sha256"]:
            raise ChecksumError(link)
        return content

    def open_batch(self, name: str, priority: str = "bulk", model: str = "stable") -> "Batch":
        body = {"name": name, "options": {"priority": priority, "model": model}}
        return Batch(self, self.send("POST", "/v1/batches", json=body))

    def batch(self, batch_id: str) -> "Batch":
        return Batch(self, self.send("GET", f"/v1/batches/{batch_id}"))

    def poll(self, link: str, etag: str, wait_s: float) -> httpx.Response:
        """The document, or 304, when it has changed or after `wait_s`; a server too busy to wait is asked later."""
        wait_s, started = min(LONG_POLL_S, math.ceil(wait_s)), time.monotonic()
        known = {"If-None-Match": etag} if etag else {}
        answer = self.send("GET", link, headers={"Prefer": f"wait={wait_s}"} | known)
        waited = time.monotonic() - started
        if answer.status_code == httpx.codes.NOT_MODIFIED and waited < wait_s / 2:
            time.sleep(min(wait_s - waited, max(QUICKEST_POLL_S, _retry_after(answer))))
        return answer

    def send(self, method: str, link: str, **request: Any) -> httpx.Response:
        """One exchange, tried again until `timeout_s` is spent. Raises ProblemError, httpx.TransportError.

        What the server asks a caller at its limit to wait for does not count, up to LONGEST_LIMITED_S in all.
        """
        give_up, limited_s = time.monotonic() + self.timeout_s, LONGEST_LIMITED_S
        for attempt in itertools.count():
            wanted_s = 0.0
            try:
                answer = self._http.request(method, link, **request)
            except TRANSIENT as error:
                failure: Exception = error
            else:
                if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
                    return answer
                problem = failure = ProblemError(_problem(answer))
                if problem.status not in (429, 502, 503, 504) and problem.code != "idempotency_in_progress":
                    raise problem
                wanted_s = _retry_after(answer)
                if problem.code == "rate_limited":
                    give_up += min(wanted_s, limited_s)
                    limited_s = max(0.0, limited_s - wanted_s)
            pause_s = wanted_s + random.uniform(0.5, 1) * min(LONGEST_PAUSE_S, 0.2 * 2**attempt)
            if time.monotonic() + pause_s > give_up:
                raise failure
            time.sleep(pause_s)
        raise AssertionError("itertools.count() ended")


class Batch:
    """Many images under one name, each known by its `custom_id`."""

    def __init__(self, client: Client, answer: httpx.Response) -> None:
        self._client = client
        self._take(answer)

    def _take(self, answer: httpx.Response) -> None:
        document = answer.json()
        self.id, self.name, self.status = str(document["id"]), str(document["name"]), str(document["status"])
        self.counts = Counts.of(document["counts"])
        self.rate_per_s: float | None = document.get("rate_per_s")
        self.eta_s: float | None = document.get("eta_s")
        self.links: dict[str, str] = document["links"]
        self._etag = answer.headers.get("ETag", "")

    @property
    def final(self) -> bool:
        return self.status not in UNFINISHED

    def append(self, images: Sequence[tuple[str, bytes]]) -> list[Outcome]:
        """Add (custom_id, content) pairs, in order. A custom_id that is there is left alone: repeat freely."""
        parts = [_part(custom_id, content) for custom_id, content in images]
        answer = self._client.send("POST", self.links["jobs"], files=parts)
        return [Outcome.of(item) for item in answer.json()["items"]]

    def close(self) -> None:
        """Nothing more will be added: the batch ends when its images have."""
        self._take(self._client.send("POST", self.links["close"]))

    def cancel(self) -> None:
        self._take(self._client.send("POST", self.links["cancel"]))

    def retry(self) -> None:
        """Run those once more that failed."""
        self._take(self._client.send("POST", self.links["retry"]))

    def refresh(self) -> None:
        self._take(self._client.send("GET", self.links["self"]))

    def poll(self, wait_s: float = LONG_POLL_S) -> None:
        """Refreshed when it has changed, or after `wait_s`."""
        started = time.monotonic()
        answer = self._client.poll(self.links["self"], self._etag, wait_s)
        if answer.status_code != httpx.codes.NOT_MODIFIED:
            self._take(answer)
            if not self.final:
                time.sleep(max(0.0, QUICKEST_POLL_S - (time.monotonic() - started)))

    def wait(self, timeout_s: float = 3600) -> None:
        """Until it has ended; it ends only when it is closed. Raises TimeoutError."""
        give_up = time.monotonic() + timeout_s
        while not self.final:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.id} is still {self.status}")
            self.poll(left)

    def results(self, after: int = 0) -> Iterator[Item]:
        """What has finished by now, beyond the cursor `after`."""
        while lines := self._client.send("GET", self.links["results"], params={"after": after}).content.strip():
            for line in lines.split(b"\n"):
                item = Item.of(json.loads(line))
                after = item.cursor
                yield item

    def __iter__(self) -> Iterator[Item]:
        """Everything, as it finishes, until the batch has ended."""
        after, ended = 0, False
        while not ended:
            ended = self.final  # looked at before reading: what had finished by then is in what is read
            for item in self.results(after):
                after = item.cursor
                yield item
            if not ended:
                self.poll()


def _part(name: str, content: bytes) -> tuple[str, tuple[str, bytes, str]]:
    return "image", (name.encode(errors="replace").decode(), content, "application/octet-stream")


def _path(job_id: str, action: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{action}"


def _job(answer: httpx.Response) -> Job:
    document = _document(answer)
    return Job.of(document, etag=answer.headers.get("ETag", ""), document=document)


def _document(answer: httpx.Response) -> dict[str, Any]:
    """Raises ProblemError where something answered that is not Segue."""
    try:
        return dict(answer.json())
    except (ValueError, TypeError) as error:
        detail = f"{answer.url} answers with something else."
        raise ProblemError({"title": "Not Segue", "status": answer.status_code, "detail": detail}) from error


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem document; made up where something between here and the server answered without one."""
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return dict(answer.json())
    return {"title": answer.reason_phrase, "status": answer.status_code, "detail": answer.text[:200], "code": ""}


def _retry_after(answer: httpx.Response) -> float:
    """Seconds of the header; 0 without, or when it is a date."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
