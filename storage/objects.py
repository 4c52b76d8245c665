"""The object store, on any S3 server, through the `minio` SDK and, where it saves CPU time, `obstore`.

The objects are the source of truth. An upload carries its job's spec as metadata, and a mask
carries its outcome in a text chunk, so that job hashes can be rebuilt from the objects alone.
"""

import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.error import InvalidResponseError, S3Error, ServerError
from PIL import Image

from storage import keys
from storage.job import Outcome, Spec, Status
from storage.problems import Unavailable
from storage.settings import Settings
from storage.transfers import MISSING, MOST_BYTES, Missing, Transfers
from telemetry import traces
from telemetry.metrics import STORE_ERRORS

UPLOADS, RESULTS, MODELS, BATCHES, FEEDBACK = "uploads", "results", "models", "batches", "feedback"
RENDERINGS = "renderings"
DATASETS, TRAINING = "datasets", "training"
OUTCOME_TEXT = "segue:outcome"  # the PNG text chunk of a mask
BUCKETS = (UPLOADS, RESULTS, MODELS, BATCHES, FEEDBACK, RENDERINGS, DATASETS, TRAINING)
# The SDK's defaults are five minutes and five retries. With these limits, two attempts fit in a lease.
TIMEOUT = urllib3.Timeout(connect=2, read=10)
RETRIES = urllib3.Retry(total=1, backoff_factor=0.1)
# While a client waits: retry once after a closed connection, but not after a timeout.
TIMEOUT_ONLINE = urllib3.Timeout(connect=2, read=5)
RETRIES_ONLINE = urllib3.Retry(total=1, read=0, backoff_factor=0.1)
OUTAGES = (urllib3.exceptions.HTTPError, InvalidResponseError, ServerError)
ALREADY_THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")
# Raised by Pillow and json for bytes that are not a valid result.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listed:
    """One object in a listing: its key, and when it was last written, ms UTC."""

    key: str
    modified_ms: int


class MinioObjects:
    """Every method raises Unavailable if the store does not answer.

    Missing objects are returned as None.
    """

    def __init__(self, settings: Settings, online: bool = False, connections: int = 32) -> None:
        url = urlsplit(settings.s3_url)
        self._prefix = settings.bucket_prefix
        # Web processes are online: obstore would block their event loop, and in threads it would save too little.
        self._transfers = None if online else Transfers(settings)
        self._client = Minio(
            url.netloc,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=url.scheme == "https",
            region=settings.s3_region,  # or the SDK asks for it, which the roles' identities may not
            http_client=urllib3.PoolManager(
                timeout=TIMEOUT_ONLINE if online else TIMEOUT,
                retries=RETRIES_ONLINE if online else RETRIES,
                maxsize=connections,
                cert_reqs="CERT_REQUIRED",
                ca_certs=str(settings.s3_ca) if settings.s3_ca else None,
            ),
        )

    def make_buckets(self) -> None:
        for bucket in BUCKETS:
            if not self.exists(bucket):
                with _translated():
                    self._client.make_bucket(self._prefix + bucket)

    def exists(self, bucket: str) -> bool:
        with _translated():
            return self._client.bucket_exists(self._prefix + bucket)

    def ready(self) -> bool:
        try:
            return self.exists(UPLOADS)
        except Unavailable:
            return False

    def put(
        self, bucket: str, key: str, content: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        if self._transfers and len(content) <= MOST_BYTES:
            self._transfers.put(self._prefix + bucket, key, content, content_type, metadata or {})
            return
        with traces.s3("PutObject", bucket), _translated():
            self._client.put_object(
                self._prefix + bucket, key, io.BytesIO(content), len(content), content_type, dict(metadata or {})
            )

    def get(self, bucket: str, key: str) -> bytes | None:
        response = None
        try:
            if self._transfers:
                return self._transfers.get(self._prefix + bucket, key)
            with traces.s3("GetObject", bucket), _translated():
                response = self._client.get_object(self._prefix + bucket, key)
                return bytes(response.read())
        except Missing:
            return None
        finally:
            if response is not None:
                response.close()
                response.release_conn()

    def metadata(self, bucket: str, key: str, name: str) -> str | None:
        """One field of an object's user metadata (S3 allows 2 KiB in all).

        "" if the object lacks the field, None if the object is missing.
        """
        try:
            with traces.s3("HeadObject", bucket), _translated():
                headers = self._client.stat_object(self._prefix + bucket, key).metadata or {}
        except Missing:
            return None
        lower = {header.lower(): value for header, value in headers.items()}
        return str(lower.get(f"x-amz-meta-{name}", ""))

    def listing(self, bucket: str, prefix: str) -> Iterator[Listed]:
        with _translated():
            for item in self._client.list_objects(self._prefix + bucket, prefix, recursive=True):
                if item.object_name and item.last_modified:
                    yield Listed(item.object_name, int(item.last_modified.timestamp() * 1000))

    def of_jobs(self, bucket: str, hour: str) -> Iterator[tuple[keys.Owner, Listed]]:
        """The uploads or results of an hour, each with its tenant and job id. Skips other keys."""
        for listed in self.listing(bucket, f"{hour}/"):
            if owner := keys.owner(listed.key):
                yield owner, listed

    def folders(self, bucket: str) -> set[str]:
        """Names of the top-level folders."""
        with _translated():
            found = self._client.list_objects(self._prefix + bucket, recursive=False)
            return {item.object_name.rstrip("/") for item in found if item.object_name and item.is_dir}

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object. Removing a missing object is not an error."""
        with traces.s3("DeleteObject", bucket), _translated():
            self._client.remove_object(self._prefix + bucket, key)

    def put_upload(self, spec: Spec, content: bytes) -> None:
        """Store the image with its spec.

        From now on the job is accepted, whatever happens to Redis.
        """
        key = keys.upload(spec.tenant, spec.id)
        self.put(UPLOADS, key, content, "application/octet-stream", {"spec": spec.to_json()})

    def copy_upload(self, tenant: str, job_id: str, spec: Spec) -> bool:
        """Store the photo of another job with this spec, within the store.

        False if the other job has no photo.
        """
        source = CopySource(self._prefix + UPLOADS, keys.upload(tenant, job_id))
        key, metadata = keys.upload(spec.tenant, spec.id), {"spec": spec.to_json()}
        try:
            with traces.s3("CopyObject", UPLOADS), _translated():
                self._client.copy_object(
                    self._prefix + UPLOADS, key, source, metadata=dict(metadata), metadata_directive=REPLACE
                )
        except Missing:
            return False
        return True

    def reruns(self, tenant: str, job_id: str) -> list[str]:
        """The ids of the job's re-runs, the oldest first."""
        found = sorted(self.listing(UPLOADS, keys.reruns(tenant, job_id)), key=lambda listed: listed.modified_ms)
        return [listed.key.rpartition("/")[2] for listed in found]

    def get_upload(self, spec: Spec) -> bytes | None:
        return self.get(UPLOADS, keys.upload(spec.tenant, spec.id))

    def spec(self, tenant: str, job_id: str) -> Spec | None:
        text = self.metadata(UPLOADS, keys.upload(tenant, job_id), "spec")
        return Spec.from_json(text) if text else None

    def put_result(self, spec: Spec, token: str, outcome: Outcome, mask: bytes = b"") -> str:
        """Store the mask PNG, or the problem document of a job without one, and return its key."""
        if outcome.status is Status.SUCCEEDED:
            suffix, content, kind = "png", mask, "image/png"
        else:
            suffix, kind = outcome.status.value, "application/problem+json"
            content = json.dumps(outcome.error).encode()
        key = keys.result(spec.tenant, spec.id, token, suffix)
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
        latest_claim_first = sorted(self.listing(RESULTS, keys.results(tenant, job_id)), key=_key, reverse=True)
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
            owner = keys.owner(key)  # the key contains the tenant
            fields = {"job": owner[1] if owner else "", "error": repr(error)}
            log.warning("result_damaged", extra=fields)
            return None


def _outcome(key: str, content: bytes) -> Outcome:
    """Read the mask's text chunk or the problem document. Raises one of DAMAGED."""
    if not key.endswith(".png"):
        return Outcome(Status(key.rpartition(".")[2]), error=dict(json.loads(content)))
    with Image.open(io.BytesIO(content), formats=["PNG"]) as mask:
        return Outcome.from_json(mask.info[OUTCOME_TEXT]).with_digest(content)


def _key(listed: Listed) -> str:
    return listed.key


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the SDK's and urllib3's errors as Missing or Unavailable. Their texts stay in the cause, for the logs."""
    try:
        yield
    except S3Error as error:
        if error.code in MISSING:
            raise Missing(error.code) from error
        if error.code not in ALREADY_THERE:
            STORE_ERRORS.inc()
            raise Unavailable(f"object store: {error.code}") from error
    except OUTAGES as error:
        STORE_ERRORS.inc()
        raise Unavailable(f"object store: {type(error).__name__}") from error
