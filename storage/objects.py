"""The objects of jobs: uploads and results.

The objects are the source of truth. An upload carries its job's spec as metadata, and a mask
carries its outcome in a text chunk, so that job hashes can be rebuilt from the objects alone.
"""

import io
import json
import logging
from collections.abc import Iterable, Iterator
from typing import cast

from PIL import Image

from storage import keys, object_keys
from storage.job import Outcome, Spec, Status
from storage.problems import ProblemDocument, Unavailable
from storage.s3 import S3, Listed

UPLOADS, RESULTS, MODELS, BATCHES, FEEDBACK = "uploads", "results", "models", "batches", "feedback"
RENDERINGS = "renderings"
DATASETS, TRAINING = "datasets", "training"
OUTCOME_TEXT = "segue:outcome"  # the PNG text chunk of a mask
BUCKETS = (UPLOADS, RESULTS, MODELS, BATCHES, FEEDBACK, RENDERINGS, DATASETS, TRAINING)
# Raised by Pillow and json for bytes that are not a valid result.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError)

log = logging.getLogger(__name__)


class MinioObjects(S3):
    """The object store of Segue. Every method raises Unavailable if it does not answer."""

    def make_buckets(self) -> None:
        for bucket in BUCKETS:
            self.make_bucket(bucket)

    def ready(self) -> bool:
        try:
            return self.exists(UPLOADS)
        except Unavailable:
            return False

    def of_jobs(self, bucket: str, hour: str) -> Iterator[tuple[keys.Owner, Listed]]:
        """The uploads or results of an hour, each with its tenant and job id. Skips other keys."""
        for listed in self.listing(bucket, f"{hour}/"):
            if owner := object_keys.owner(listed.key):
                yield owner, listed

    def put_upload(self, spec: Spec, content: bytes) -> None:
        """Store the image with its spec.

        From now on the job is accepted, whatever happens to Redis.
        """
        key = object_keys.upload(spec.tenant, spec.id)
        self.put(UPLOADS, key, content, "application/octet-stream", {"spec": spec.to_json()})

    def copy_upload(self, tenant: str, job_id: str, spec: Spec) -> bool:
        """Store the photo of another job with this spec, within the store.

        False if the other job has no photo.
        """
        source, copy = object_keys.upload(tenant, job_id), object_keys.upload(spec.tenant, spec.id)
        return self.copy(UPLOADS, source, copy, {"spec": spec.to_json()})

    def reruns(self, tenant: str, job_id: str) -> list[str]:
        """The ids of the job's re-runs, the oldest first."""
        found = sorted(self.listing(UPLOADS, object_keys.reruns(tenant, job_id)), key=lambda listed: listed.modified_ms)
        return [listed.key.rpartition("/")[2] for listed in found]

    def get_upload(self, spec: Spec) -> bytes | None:
        return self.get(UPLOADS, object_keys.upload(spec.tenant, spec.id))

    def spec(self, tenant: str, job_id: str) -> Spec | None:
        text = self.metadata(UPLOADS, object_keys.upload(tenant, job_id), "spec")
        return Spec.from_json(text) if text else None

    def put_result(self, spec: Spec, token: str, outcome: Outcome, mask: bytes = b"") -> str:
        """Store the mask PNG, or the problem document of a job without one, and return its key."""
        if outcome.status is Status.SUCCEEDED:
            suffix, content, kind = "png", mask, "image/png"
        else:
            suffix, kind = outcome.status.value, "application/problem+json"
            content = json.dumps(outcome.error).encode()
        key = object_keys.result(spec.tenant, spec.id, token, suffix)
        self.put(RESULTS, key, content, kind)
        return key

    def put_result_after_others(
        self, spec: Spec, token: str, outcome: Outcome, mask: bytes = b""
    ) -> tuple[str, Outcome]:
        """Store the result of a job that may have been attempted before.

        Returns the key and the outcome that count. If another attempt stored an older result, that one counts and the
        new object is removed; nothing refers to it yet. So the job hash always agrees with the oldest object, which
        decides if the hash is lost.
        """
        key = self.put_result(spec, token, outcome, mask)
        ending = self.ending(self.results(spec.tenant, spec.id))
        if ending is None or ending[0].key == key:
            return key, outcome
        self.remove(RESULTS, key)
        return ending[0].key, ending[1]

    def results(self, tenant: str, job_id: str) -> list[Listed]:
        """A job's result objects, the oldest first. Without a job hash the oldest one decides.

        Some servers keep times in whole seconds. Within one second the result of the later claim comes first (tokens
        sort by time). A zombie may store its result after the later claim's. A later claim does not add its result to
        an earlier one: `put_result_after_others` adopts that.
        """
        latest_claim_first = sorted(self.listing(RESULTS, object_keys.results(tenant, job_id)), key=_key, reverse=True)
        return sorted(latest_claim_first, key=lambda listed: listed.modified_ms)

    def ending(self, results: Iterable[Listed]) -> tuple[Listed, Outcome] | None:
        """The first result that exists and is not damaged, and its outcome; None if there is none."""
        for listed in results:
            if outcome := self.outcome(listed.key):
                return listed, outcome
        return None

    def outcome(self, key: str) -> Outcome | None:
        """The outcome that a result object holds; None if the object is missing or damaged."""
        content = self.get(RESULTS, key)
        try:
            return None if content is None else _outcome(key, content)
        except DAMAGED as error:
            owner = object_keys.owner(key)  # the key contains the tenant
            fields = {"job": owner[1] if owner else "", "error": repr(error)}
            log.warning("result_damaged", extra=fields)
            return None


def _outcome(key: str, content: bytes) -> Outcome:
    """Read the mask's text chunk or the problem document. Raises one of DAMAGED."""
    if not key.endswith(".png"):
        error = cast(ProblemDocument, dict(json.loads(content)))  # raises for JSON that is not an object
        return Outcome(Status(key.rpartition(".")[2]), error=error)
    with Image.open(io.BytesIO(content), formats=["PNG"]) as mask:
        return Outcome.from_json(mask.info[OUTCOME_TEXT]).with_digest(content)


def _key(listed: Listed) -> str:
    return listed.key
