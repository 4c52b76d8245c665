"""Objects on any S3 server, through the `minio` SDK and, where it saves CPU time, `obstore`."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.error import InvalidResponseError, S3Error, ServerError

from storage.problems import Unavailable
from storage.settings import Settings
from storage.transfers import MISSING, MOST_BYTES, Missing, Transfers
from telemetry import traces
from telemetry.metrics import STORE_ERRORS

META = "x-amz-meta-"  # prefix of the headers of user metadata
# The SDK's defaults are five minutes and five retries. With these limits, two attempts fit in a lease.
TIMEOUT = urllib3.Timeout(connect=2, read=10)
# A store that starts, or writes to a bucket for the first time, may need a moment. How long we wait is not its choice.
RETRY: dict[str, Any] = {
    "total": 1,
    "backoff_factor": 0.1,
    "status_forcelist": (500, 502, 503, 504),
    "raise_on_status": False,
    "respect_retry_after_header": False,
}
TIMEOUT_ONLINE = urllib3.Timeout(connect=2, read=5)
OUTAGES = (urllib3.exceptions.HTTPError, InvalidResponseError, ServerError)
ALREADY_THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


@dataclass(frozen=True)
class Whole:
    """An object with all that a copy of it needs. `metadata`: the user's, by name."""

    content: bytes
    etag: str
    modified_ms: int
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Listed:
    """One object in a listing: its key, when it was last written, ms UTC, and its ETag without quotes."""

    key: str
    modified_ms: int
    etag: str = ""


class RetryOnline(urllib3.Retry):
    """Retries while a client waits: after a closed connection or a server error, but not after a timeout."""

    def increment(self, *request: Any, **happened: Any) -> Self:
        if isinstance(error := happened.get("error"), urllib3.exceptions.TimeoutError):
            raise error
        return super().increment(*request, **happened)


class S3:
    """One object store, whose buckets share a prefix. Every method raises Unavailable if it does not answer.

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
                retries=RetryOnline(**RETRY) if online else urllib3.Retry(**RETRY),
                maxsize=connections,
                cert_reqs="CERT_REQUIRED",
                ca_certs=str(settings.s3_ca) if settings.s3_ca else None,
            ),
        )

    def make_bucket(self, bucket: str) -> None:
        """Create a bucket, unless it exists."""
        if not self.exists(bucket):
            with _translated():
                self._client.make_bucket(self._prefix + bucket)

    def exists(self, bucket: str) -> bool:
        with _translated():
            return self._client.bucket_exists(self._prefix + bucket)

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
        try:
            if self._transfers:
                return self._transfers.get(self._prefix + bucket, key)
            with self._opened(bucket, key) as response:
                return bytes(response.read())
        except Missing:
            return None

    def whole(self, bucket: str, key: str) -> Whole | None:
        """An object's content and metadata, from one request, so that they belong together."""
        try:
            with self._opened(bucket, key) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                modified = parsedate_to_datetime(headers["last-modified"])
                return Whole(
                    bytes(response.read()),
                    headers["etag"].strip('"'),
                    int(modified.timestamp() * 1000),
                    headers.get("content-type", "application/octet-stream"),
                    {name.removeprefix(META): value for name, value in headers.items() if name.startswith(META)},
                )
        except Missing:
            return None

    def copy(self, bucket: str, source: str, key: str, metadata: Mapping[str, str]) -> bool:
        """Copy an object within the store, with this metadata. False if it is missing."""
        origin = CopySource(self._prefix + bucket, source)
        try:
            with traces.s3("CopyObject", bucket), _translated():
                self._client.copy_object(
                    self._prefix + bucket, key, origin, metadata=dict(metadata), metadata_directive=REPLACE
                )
        except Missing:
            return False
        return True

    @contextmanager
    def _opened(self, bucket: str, key: str) -> Iterator[urllib3.BaseHTTPResponse]:
        with traces.s3("GetObject", bucket), _translated():
            response = self._client.get_object(self._prefix + bucket, key)
            try:
                yield response
            finally:
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
        return str(lower.get(f"{META}{name}", ""))

    def listing(self, bucket: str, prefix: str) -> Iterator[Listed]:
        with _translated():
            for item in self._client.list_objects(self._prefix + bucket, prefix, recursive=True):
                if item.object_name and item.last_modified:
                    yield Listed(
                        item.object_name, int(item.last_modified.timestamp() * 1000), (item.etag or "").strip('"')
                    )

    def folders(self, bucket: str) -> set[str]:
        """Names of the top-level folders."""
        with _translated():
            found = self._client.list_objects(self._prefix + bucket, recursive=False)
            return {item.object_name.rstrip("/") for item in found if item.object_name and item.is_dir}

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object. Removing a missing object is not an error."""
        with traces.s3("DeleteObject", bucket), _translated():
            self._client.remove_object(self._prefix + bucket, key)


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
