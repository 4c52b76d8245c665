"""The Python client of the HTTP API.

with Client("http://127.0.0.1:8000") as client:
    job = client.wait(client.submit("cat.jpg"), timeout_s=60)
    Path("mask.png").write_bytes(client.mask(job))
"""

import hashlib
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

WATCH_S = 2  # of many jobs each is asked for so long before the next one's turn
LONGEST_PAGE = 200


class Client(Transport):
    """Safe to share between threads. Every call tries again for `timeout_s` while the server is away or busy."""

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
        """Send one image, a path or its bytes; with `wait_s` (at most 60) the answer comes when it has ended.

        `name`: the file's, where the image is bytes.
        """
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        name = name or ("image" if isinstance(image, bytes) else Path(image).name)
        headers = {"Idempotency-Key": str(uuid.uuid4())} | ({"Prefer": f"wait={wait_s}"} if wait_s else {})
        options = {"priority": priority, "model": model} | ({"deadline_s": str(deadline_s)} if deadline_s else {})
        options |= {"tags": ",".join(tags)} if tags else {}
        parts = [part(name, content)]
        return job_of(self.send("POST", "/v1/jobs", headers=headers, data=options, files=parts))

    def job(self, job_id: str) -> Job:
        return job_of(self.send("GET", _path(job_id)))

    def jobs(self, status: str = "", batch_id: str = "", created_after: str = "", limit: int = 50) -> Iterator[Job]:
        """The newest first, seconds behind, at most `limit`; a page is asked for when it is needed."""
        wanted = {"status": status, "batch_id": batch_id, "created_after": created_after}
        asked: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        while limit > 0:
            page = document_of(self.send("GET", "/v1/jobs", params={**asked, "limit": min(limit, LONGEST_PAGE)}))
            yield from (Job.of(entry, etag="", document=entry) for entry in page["data"])
            limit -= len(page["data"])
            if not page["next_cursor"]:
                return
            asked["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """Ended without a mask; still `running` while its worker has not heard of it."""
        return job_of(self.send("POST", _path(job_id, "/cancel")))

    def retry(self, job_id: str) -> Job:
        """Another attempt for what ended without a mask."""
        return job_of(self.send("POST", _path(job_id, "/retry")))

    def erase(self, job_id: str) -> None:
        """Photo, mask and record."""
        self.send("DELETE", _path(job_id))

    def queue(self) -> dict[str, Any]:
        return document_of(self.send("GET", "/v1/queue"))

    def wait(self, job: Job, timeout_s: float = 600) -> Job:
        """The ended job. Raises TimeoutError."""
        give_up = time.monotonic() + timeout_s
        while not job.final:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{job.id} is still {job.status}")
            answer = self.poll(job.links["self"], job.etag, left)
            job = job if answer.status_code == httpx.codes.NOT_MODIFIED else job_of(answer)
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
        return job if answer.status_code == httpx.codes.NOT_MODIFIED else job_of(answer)

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

    def open_batch(self, name: str, priority: str = "bulk", model: str = "stable") -> Batch:
        body = {"name": name, "options": {"priority": priority, "model": model}}
        return Batch(self, self.send("POST", "/v1/batches", json=body))

    def batch(self, batch_id: str) -> Batch:
        return Batch(self, self.send("GET", f"/v1/batches/{quote(batch_id, safe='', errors='replace')}"))


def _path(job_id: str, action: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='', errors='replace')}{action}"
