"""The load client: threads with keep-alive connections of http.client.

It must cost little CPU time, because it shares the cores with the server.
"""

import http.client
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from figures import percentiles

PNG = "image/png"
IDS_PER_CALL = 200


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str
    location: str

    def expect(self, *statuses: int) -> "Answer":
        """Raises RuntimeError for any other status."""
        if self.status not in statuses:
            raise RuntimeError(f"{self.status}: {self.body[:300].decode(errors='replace')}")
        return self


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        kind, location = answer.headers.get("Content-Type", ""), answer.headers.get("Location", "")
        return Answer(answer.status, answer.read(), kind, location)

    def post(self, path: str, photo: bytes, **headers: str) -> Answer:
        return self.request("POST", path, photo, **{"Content-Type": "image/jpeg", **headers})

    def submit(self, photo: bytes, **headers: str) -> Answer:
        return self.post("/v1/jobs", photo, **headers).expect(200, 202)

    def wait(self, location: str) -> None:
        """Return when the job has succeeded. Raises RuntimeError if it ended otherwise."""
        while True:
            body = self.request("GET", location, Prefer="wait=30").expect(200).body
            if b'"status":"succeeded"' in body:
                return
            if b'"status":"queued"' not in body and b'"status":"running"' not in body:
                raise RuntimeError(body.decode())

    def jobs(self, locations: Sequence[str]) -> list[dict[str, Any]]:
        """The job documents of these locations."""
        found = []
        for start in range(0, len(locations), IDS_PER_CALL):
            ids = ",".join(location.rpartition("/")[2] for location in locations[start : start + IDS_PER_CALL])
            found += json.loads(self.request("GET", f"/v1/jobs?ids={ids}").expect(200).body)["data"]
        return found

    def queue(self) -> dict[str, Any]:
        return dict(json.loads(self.request("GET", "/v1/queue").expect(200).body))

    def close(self) -> None:
        self._connection.close()


class Way(Protocol):
    """A way to get a mask. Once the mask has arrived, returns the seconds of the POST and the job's location."""

    def __call__(self, client: Client, photo: bytes) -> tuple[float, str]: ...


def two_requests(client: Client, photo: bytes) -> tuple[float, str]:
    """POST and wait for the job, then GET its mask."""
    started = time.perf_counter()
    answer = client.submit(photo, Prefer="wait=60")
    posted = time.perf_counter() - started
    _fetch(client, answer)
    return posted, answer.location


def one_request(client: Client, photo: bytes) -> tuple[float, str]:
    """POST and receive the mask; GET it only if it was not ready in time."""
    started = time.perf_counter()
    answer = client.submit(photo, Prefer="wait=60", Accept=PNG)
    posted = time.perf_counter() - started
    if answer.status == 202 or answer.kind != PNG:
        _fetch(client, answer)
    return posted, answer.location


def _fetch(client: Client, answer: Answer) -> None:
    if answer.status == 202:
        client.wait(answer.location)
    client.request("GET", f"{answer.location}/mask").expect(200)


WAYS: dict[str, Way] = {"two": two_requests, "one": one_request}


@dataclass
class Load:
    """Sends `jobs` photos, or as many as fit into `seconds`, on `clients` connections; keeps what the clients saw."""

    port: int
    photos: Sequence[bytes]
    clients: int
    jobs: int
    seconds: float = math.inf
    wall_s: float = 0.0
    posts_s: list[float] = field(default_factory=list)
    jobs_s: list[float] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        done = {"images_per_s": len(self.jobs_s) / self.wall_s} if self.jobs_s else {}
        submits, jobs = percentiles("submit_ms", self.posts_s), percentiles("job_ms", self.jobs_s)
        return {**done, "errors": len(self.errors), **submits, **jobs}

    def closed_loop(self, way: Way) -> "Load":
        """Each client sends its next photo once it has the mask of the last one."""

        def one(client: Client, photo: bytes) -> None:
            started = time.perf_counter()
            posted, location = way(client, photo)
            self.jobs_s.append(time.perf_counter() - started)
            self.posts_s.append(posted)
            self.locations.append(location)

        return self.run(one)

    def submit_all(self) -> "Load":
        """Send single uploads as fast as the server accepts them. Does not wait for their jobs."""

        def one(client: Client, photo: bytes) -> None:
            started = time.perf_counter()
            self.locations.append(client.submit(photo).location)
            self.posts_s.append(time.perf_counter() - started)

        return self.run(one)

    def run(self, one: Callable[[Client, bytes], None]) -> "Load":
        """Call `one` once per job. Collects its errors, and measures the time until the last call has returned."""
        numbers, started = itertools.count(), time.perf_counter()

        def repeat() -> None:
            client = Client(self.port)
            while (number := next(numbers)) < self.jobs and time.perf_counter() - started < self.seconds:
                try:
                    one(client, self.photos[number % len(self.photos)])
                except (OSError, http.client.HTTPException, RuntimeError) as error:
                    self.errors.append(str(error))
                    client.close()
            client.close()

        with ThreadPoolExecutor(self.clients) as pool:
            for done in [pool.submit(repeat) for _ in range(self.clients)]:
                done.result()
        self.wall_s = time.perf_counter() - started
        return self
