"""The Python client of the HTTP API.

with Client("http://127.0.0.1:8000") as client:
    job = client.wait(client.submit("cat.jpg"), timeout_s=60)
    Path("mask.png").write_bytes(client.mask(job))
"""

import base64
import hashlib
import math
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from segue_client.batch import Batch, part
from segue_client.documents import FORMATS, ChecksumError, Item, Job, ProblemError, document_of, job_of
from segue_client.transport import Transport

WATCH_S = 2  # `watch` waits this long for a change of one job before it turns to the next
LONGEST_PAGE = 200
LONGEST_WAIT_S = 60  # the longest `Prefer: wait` that the server accepts
# The formats that `Accept` can select: in these, the request that sends a photo can return its mask.
BY_ACCEPT = {"index": "image/png", "overlay": "image/jpeg", "geojson": "application/geo+json"}


class Client(Transport):
    """Safe to share between threads.

    Each call retries for `timeout_s` while the server is down or busy.
    """

    def submit(
        self,
        image: str | Path | bytes,
        *,
        priority: str = "interactive",
        deadline_s: int | None = None,
        model: str = "stable",
        wait_s: int = 0,
        name: str = "",
        tags: Sequence[str] = (),
    ) -> Job:
        """Send one image, given as a path or as bytes.

        With `wait_s` (at most 60) the server responds as soon as the job has ended or the time has
        passed. `name`: the file name; by default the path's own.
        """
        options = {"priority": priority, "deadline_s": deadline_s, "model": model, "tags": ",".join(tags)}
        return job_of(self._post(image, name, options, wait_s))

    def segment(self, image: str | Path | bytes, format: str = "index", timeout_s: float = 600) -> bytes:  # noqa: A002
        """Send one image and return its mask. Takes one request if the mask is ready within a minute.

        Raises ProblemError if the job ends without a mask, and TimeoutError after `timeout_s`.
        """
        if format not in FORMATS:
            raise ValueError(f"unknown format {format}")
        give_up = time.monotonic() + timeout_s
        accept = {"Accept": BY_ACCEPT[format]} if format in BY_ACCEPT else {}
        answer = self._post(image, "", {}, min(LONGEST_WAIT_S, math.ceil(timeout_s)), **accept)
        if accept and answer.headers.get("Content-Type") == accept["Accept"]:
            return _checked(answer)
        return self.mask(self.wait(job_of(answer), give_up - time.monotonic()), format)

    def _post(
        self, image: str | Path | bytes, name: str, options: dict[str, Any], wait_s: int, **headers: str
    ) -> httpx.Response:
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        name = name or ("image" if isinstance(image, bytes) else Path(image).name)
        headers |= {"Idempotency-Key": str(uuid.uuid4())} | ({"Prefer": f"wait={wait_s}"} if wait_s else {})
        given = {option: str(value) for option, value in options.items() if value}
        return self.send("POST", "/v1/jobs", headers=headers, data=given, files=[part(name, content)])

    def job(self, job_id: str) -> Job:
        return job_of(self.send("GET", _path(job_id)))

    def jobs(self, status: str = "", batch_id: str = "", created_after: str = "", limit: int = 50) -> Iterator[Job]:
        """Yield at most `limit` jobs, the newest first. Each page is requested when it is needed.

        The server's list is a few seconds behind.
        """
        filters = {"status": status, "batch_id": batch_id, "created_after": created_after}
        params: dict[str, Any] = {name: value for name, value in filters.items() if value}
        while limit > 0:
            page = document_of(self.send("GET", "/v1/jobs", params={**params, "limit": min(limit, LONGEST_PAGE)}))
            yield from (Job.of(entry, etag="", document=entry) for entry in page["data"])
            limit -= len(page["data"])
            if not page["next_cursor"]:
                return
            params["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and return it. A running job stays `running` until its worker notices."""
        return job_of(self.send("POST", _path(job_id, "/cancel")))

    def retry(self, job_id: str) -> Job:
        """Start another attempt at a job that ended without a mask."""
        return job_of(self.send("POST", _path(job_id, "/retry")))

    def erase(self, job_id: str) -> None:
        """Delete a job's photo, mask and record."""
        self.send("DELETE", _path(job_id))

    def queue(self) -> dict[str, Any]:
        return document_of(self.send("GET", "/v1/queue"))

    def wait(self, job: Job, timeout_s: float = 600) -> Job:
        """Block until the job has ended, and return it. Raises TimeoutError."""
        give_up = time.monotonic() + timeout_s
        while not job.final:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{job.id} is still {job.status}")
            answer = self.poll(job.links["self"], job.etag, left)
            job = job if answer.status_code == httpx.codes.NOT_MODIFIED else job_of(answer)
        return job

    def watch(self, jobs: Iterable[Job], timeout_s: float = 3600) -> Iterator[Job]:
        """Check the jobs in turn until all have ended, and yield each job after each check.

        If a job is erased meanwhile, it is yielded one last time, unchanged except for its `error`,
        which is then the problem document. Raises TimeoutError.
        """
        give_up, waiting = time.monotonic() + timeout_s, deque(jobs)
        while waiting:
            job, left = waiting.popleft(), give_up - time.monotonic()
            if not job.final and left <= 0:
                raise TimeoutError(f"{len(waiting) + 1} have not ended in time, {job.id} is still {job.status}")
            job = job if job.final else self._refreshed(job, min(left, WATCH_S))
            if not job.final and job.error is None:
                waiting.append(job)
            yield job

    def _refreshed(self, job: Job, wait_s: float) -> Job:
        try:
            answer = self.poll(job.links["self"], job.etag, wait_s)
        except ProblemError as error:
            if error.status not in (404, 410):
                raise
            return replace(job, error=error.document)
        return job if answer.status_code == httpx.codes.NOT_MODIFIED else job_of(answer)

    def mask(self, job: Job | Item, format: str = "index") -> bytes:  # noqa: A002 - the API's own word
        """Fetch a job's mask in one of the API's formats.

        `index`, the palette PNG, is checked against its SHA-256. Raises ChecksumError if it differs,
        ProblemError if the job has no mask, and ValueError if the mask has no such format.
        """
        if job.result is None:
            raise ProblemError(job.error or {"title": "No mask", "detail": f"The job is {job.status}."})
        link = job.links.get("mask" if format == "index" else format) if format in FORMATS else None
        if link is None:
            raise ValueError(f"this mask is not available in the format {format}")
        content = self.send("GET", link).content
        if format == "index" and hashlib.sha256(content).hexdigest() != job.result["sha256"]:
            raise ChecksumError(link)
        return content

    def open_batch(
        self, name: str, priority: str = "bulk", model: str = "stable", *, tags: Sequence[str] = ()
    ) -> Batch:
        """Open a batch. `tags`: of all its jobs."""
        options = {"priority": priority, "model": model} | ({"tags": ",".join(tags)} if tags else {})
        return Batch(self, self.send("POST", "/v1/batches", json={"name": name, "options": options}))

    def batch(self, batch_id: str) -> Batch:
        return Batch(self, self.send("GET", f"/v1/batches/{quote(batch_id, safe='', errors='replace')}"))


def _path(job_id: str, action: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='', errors='replace')}{action}"


def _checked(answer: httpx.Response) -> bytes:
    """The content of a response, compared with its `Repr-Digest`. Raises ChecksumError."""
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    if answer.headers.get("Repr-Digest") != f"sha-256=:{digest}:":
        raise ChecksumError(str(answer.url))
    return answer.content
