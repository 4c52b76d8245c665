"""Jobs with a mask whose senders consented to training."""

import io
from uuid import uuid4

import numpy as np
import pictures
from numpy.typing import NDArray
from PIL import Image
from specs import submit

from model.labels import PETS
from storage import clock, feedback, keys, object_keys
from storage.connection import Storage
from storage.feedback import CONSENT, Feedback, Verdict
from storage.job import Finished, Job, Outcome, Status
from storage.objects import DATASETS, OUTCOME_TEXT, TRAINING
from storage.photos.confidence import CONFIDENCE, MOST, pack
from storage.training.decisions import accept, open_review, stored_mask
from storage.training.reviews import Review, Source

WIDTH, HEIGHT = 64, 48
Ids = NDArray[np.uint8]


def ids_of(png: bytes) -> Ids:
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "L"
        return np.asarray(image)


def grey(ids: Ids) -> bytes:
    return pictures.encoded(Image.fromarray(ids), "PNG")


def served_ids(seed: int = 0) -> Ids:
    """Four areas, and a line of noise that differs between seeds."""
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 3, (2, 2), np.uint8), np.ones((HEIGHT // 2, WIDTH // 2), np.uint8))
    ids[0] = rng.integers(0, 3, WIDTH, np.uint8)
    return ids


def with_mask(storage: Storage, tenant: str = "local", seed: int = 0, sureness: float = 1.0) -> Job:
    """A job that a worker has ended, with the mask `served_ids(seed)` and this confidence everywhere."""
    photo = pictures.jpeg(WIDTH, HEIGHT, seed)
    made = submit(storage, photo, tenant=tenant, filename="secret name.jpg")
    [leased] = storage.jobs.claim(token := uuid4().hex, "drainer", "host-1")
    assert leased.id == made.id
    ids = served_ids(seed)
    classes = [{**label.to_dict(), "fraction": float(np.mean(ids == label.id))} for label in PETS]
    result = {"width": WIDTH, "height": HEIGHT, "classes": classes, "confidence": sureness}
    outcome = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "3"}, result, {"infer": 3})
    text = pictures.PngInfo()
    text.add_text(OUTCOME_TEXT, outcome.to_json())
    text.add(CONFIDENCE, pack(bytes([round(sureness * MOST)]) * 64, 8))
    image = Image.frombytes("P", (WIDTH, HEIGHT), ids.tobytes())
    image.putpalette([channel for label in PETS for channel in label.color])
    mask = pictures.encoded(image, "PNG", pnginfo=text)
    key = storage.objects.put_result(made, token, outcome, mask)
    assert storage.jobs.finish(token, "host-1", 1, [Finished(made.id, key, outcome.with_digest(mask))]) == ["won"]
    job = storage.jobs.get(made.id)
    assert job
    return job


def consent(storage: Storage, job: Job, verdict: Verdict = Verdict.BAD, mask: bytes | None = None) -> None:
    """Feedback of the job's sender with a consent, and perhaps a corrected mask."""
    tenant, feedback_id = job.spec.tenant, keys.new_feedback_id()
    mask_key = object_keys.feedback(tenant, job.id, feedback_id, "png") if mask else ""
    given = Feedback(
        feedback_id, job.id, tenant, verdict, "my dog", "pets/3", mask_key, True, CONSENT, clock.now_ms()
    )  # fmt: skip
    feedback.store(storage.objects, storage.jobs, given, mask)


def consented(storage: Storage, tenant: str = "local", seed: int = 0, sureness: float = 1.0) -> Job:
    job = with_mask(storage, tenant, seed, sureness)
    consent(storage, job)
    return job


def accepted(storage: Storage, job: Job) -> Review:
    review = open_review(storage.objects, job.spec.tenant, job.id)
    chosen = stored_mask(storage.objects, storage.jobs, review)
    return accept(storage.objects, storage.jobs, review, mask=chosen.grey(), source=Source.MODEL, by="ops")


def put_item(storage: Storage, job: Job, dataset: str = "pets") -> str:
    """An item of a data set, as a data build stores it."""
    key = f"{object_keys.dataset_items(dataset, job.spec.tenant, job.id)}photo.png"
    storage.objects.put(DATASETS, key, b"a photo", "image/png")
    return key


def kept_of(storage: Storage, job_id: str) -> set[str]:
    """The last parts of the keys of what the learning loop has of a job."""
    buckets = (TRAINING, DATASETS)
    listed = (one.key for bucket in buckets for one in storage.objects.listing(bucket, "") if job_id in one.key)
    return {key.rpartition("/")[2] for key in listed}
