"""Damaged photos and bombs, from the upload to the end of their jobs."""

import random
from collections.abc import Callable

import hostile
import pictures
from flask.testing import FlaskClient

from storage.connection import Storage
from storage.job import Status

SAMPLE, WHOLE_EVERY = 240, 4
ENDS = {(Status.SUCCEEDED, None), (Status.FAILED, "image_decode_failed")}


def sample() -> list[bytes]:
    """Every bomb and some damaged photos, shuffled so that micro-batches contain both."""
    rng = random.Random(hostile.SEED)
    damaged = list(hostile.mutations(2000, seed=1))
    contents = [*hostile.bombs().values(), *(content for _, content in rng.sample(damaged, SAMPLE))]
    rng.shuffle(contents)
    return contents


def post(client: FlaskClient, content: bytes) -> str | None:
    """Submit the image. Returns the job's id if it was accepted."""
    answer = client.post("/v1/jobs", data=content, content_type="image/jpeg")
    if answer.status_code == 202:
        return str(answer.get_json()["id"])
    assert (answer.status_code // 100, answer.content_type) == (4, "application/problem+json"), answer.text
    return None


def end(connection: Storage, job_id: str) -> tuple[Status, str | None]:
    job = connection.jobs.get(job_id)
    assert job is not None
    error = job.outcome.error if job.outcome else None
    return job.status, error["code"] if error else None


def test_accepted_images_end_and_harm_no_other_job(
    client: FlaskClient, connection: Storage, work: Callable[[], None]
) -> None:
    accepted, whole = [], []
    for place, content in enumerate(sample()):
        accepted.append(post(client, content))
        if place % WHOLE_EVERY == 0:
            whole.append(post(client, pictures.jpeg(seed=place)))
    while any(connection.jobs.queue().pending.values()):
        work()
    ends = [end(connection, job_id) for job_id in accepted if job_id]
    assert set(ends) == ENDS
    assert {end(connection, job_id) for job_id in whole if job_id} == {(Status.SUCCEEDED, None)}
    assert None not in whole
    assert len(ends) < len(accepted)  # and some were refused
