"""A client that polls jobs continuously: once it has seen one end, the job must not change."""

import random
import threading
from dataclasses import dataclass

import httpx

FINAL = ("succeeded", "failed", "canceled", "expired")
PAUSE_S, LOOKS = 0.1, 8


@dataclass(frozen=True)
class End:
    status: str
    revision: int
    sha256: str

    @classmethod
    def of(cls, job: dict[str, object]) -> "End | None":
        if job["status"] not in FINAL:
            return None
        result = job["result"] or {}
        assert isinstance(result, dict)
        return cls(str(job["status"]), int(str(job["revision"])), str(result.get("sha256", "")))


class Watcher(threading.Thread):
    """Polls every second job.

    A GET restores a lost job hash; the other jobs must be restored without one.
    """

    def __init__(self, url: str) -> None:
        super().__init__(name="watcher", daemon=True)
        self._http = httpx.Client(base_url=url, timeout=10)
        self._ids: list[str] = []
        self._count = 0
        self._over = threading.Event()
        self.memory_lost = False  # a restored job has a later revision; nothing else may differ
        self.ends: dict[str, End] = {}
        self.complaints: list[str] = []

    def watch(self, job_id: str) -> None:
        self._count += 1
        if self._count % 2:
            self._ids.append(job_id)

    def run(self) -> None:
        while not self._over.wait(PAUSE_S):
            for job_id in random.sample(self._ids, min(LOOKS, len(self._ids))):
                self._look(job_id)

    def stop(self) -> None:
        if self.is_alive():
            self._over.set()
            self.join(30)
        self._http.close()

    def _look(self, job_id: str) -> None:
        try:
            answer = self._http.get(f"/v1/jobs/{job_id}")
        except httpx.HTTPError:
            return  # the web process is down or hangs, which says nothing about the job
        if answer.status_code == 200:
            self.compare(job_id, answer.json())
        elif answer.status_code != 503:
            self.complaints.append(f"{job_id}: {answer.status_code} {answer.text}")

    def compare(self, job_id: str, job: dict[str, object]) -> None:
        end, before = End.of(job), self.ends.get(job_id)
        if before is None:
            if end:
                self.ends[job_id] = end
        elif end is None or not self._same(before, end):
            self.complaints.append(f"{job_id}: was {before}, is {end or job['status']}")

    def _same(self, before: End, end: End) -> bool:
        revision_ok = end.revision >= before.revision if self.memory_lost else end.revision == before.revision
        return revision_ok and (end.status, end.sha256) == (before.status, before.sha256)
