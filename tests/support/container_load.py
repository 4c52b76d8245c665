"""Clients that send photos to a project of containers without a pause, and wait for their jobs."""

import itertools
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pictures
from containers import Project
from repeating import repeating

SENDERS, PATIENCE_S = 6, 120


def client(project: Project) -> httpx.Client:
    headers = {"Authorization": f"Bearer {project.key}"}
    verify = ssl.create_default_context(cafile=str(project.ca)) if project.ca else True
    return httpx.Client(base_url=project.url, headers=headers, timeout=30, verify=verify)


@contextmanager
def load(project: Project) -> Iterator[list[str]]:
    """Send photos until the block ends, and repeat each until it is accepted. Gives the ids of the jobs."""
    accepted, numbers = list[str](), itertools.count()
    photos = [pictures.jpeg(320, 240, seed) for seed in range(20)]

    with client(project) as http:

        def send() -> None:
            number, give_up = next(numbers), time.monotonic() + PATIENCE_S
            while not (job := submitted(http, photos[number % 20], f"photo-{number}")):
                assert time.monotonic() < give_up, "no photo is accepted any more"
                time.sleep(0.2)
            accepted.append(job)
            time.sleep(0.1)

        with repeating(send, SENDERS):
            yield accepted


def submitted(http: httpx.Client, photo: bytes, idempotency_key: str) -> str:
    """The id of the job; "" if it was not accepted."""
    headers = {"Content-Type": "image/jpeg", "Idempotency-Key": idempotency_key}
    try:
        answer = http.post("/v1/jobs", content=photo, headers=headers)
    except httpx.TransportError:
        return ""
    if answer.status_code == 202:
        return str(answer.json()["id"])
    assert answer.json()["retryable"], answer.text
    return ""


def all_succeed(project: Project, accepted: list[str]) -> None:
    """Check that none of the accepted jobs was lost, and that none was accepted twice."""
    with client(project) as http:
        ended = [_ended(http, job) for job in accepted]
    print(f"{len(accepted)} jobs accepted, {ended.count('succeeded')} succeeded")
    assert set(ended) == {"succeeded"}
    assert len(set(accepted)) == len(accepted)


def _ended(http: httpx.Client, job: str) -> str:
    """Wait for the end of a job. Returns its status."""
    while True:
        try:
            answer = http.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=20"})
        except httpx.TransportError:
            continue
        if answer.status_code == 200 and answer.json()["status"] not in ("queued", "running"):
            return str(answer.json()["status"])
        time.sleep(0.2)
