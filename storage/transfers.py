"""GET, and PUT of small objects, through `obstore`, which takes half the CPU time of the `minio` SDK."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from storage.problems import Unavailable
from storage.settings import Settings
from telemetry.metrics import STORE_ERRORS

# The limits that storage/objects.py sets for the SDK, but here READ_S includes the time to send the object.
CONNECT_S, READ_S, WHOLE_S = 2, 10, 600
MOST_BYTES = 5 * 1024 * 1024  # a larger object might take longer than READ_S to send

MISSING = ("NoSuchKey", "NoSuchObject")  # error codes of S3


class Missing(Exception):
    """The object does not exist."""


class Transfers:
    """Raises Unavailable if the store does not answer or lacks the bucket.

    A call blocks its native thread, so it must not run in an event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Created on first use, because obstore's threads do not survive a fork.
        self._store = cache(self._connect)

    def put(self, bucket: str, key: str, content: bytes, content_type: str, metadata: Mapping[str, str]) -> None:
        with _translated():
            attributes = {**metadata, "Content-Type": content_type}
            obstore.put(self._store(bucket), key, content, attributes=attributes, use_multipart=False)

    def get(self, bucket: str, key: str) -> bytes:
        """Raises Missing."""
        with _translated():
            return obstore.get(self._store(bucket), key).bytes().to_bytes()

    def _connect(self, bucket: str) -> S3Store:
        url, ca = self._settings.s3_url, self._settings.s3_ca
        client = {
            "allow_http": url.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=READ_S),
            "timeout": timedelta(seconds=WHOLE_S),
            # Set a proxy, but exclude the only host from it. Otherwise HTTP_PROXY and similar variables would apply.
            "proxy_url": url,
            "proxy_excludes": urlsplit(url).hostname,
        }
        if ca:  # trust no other authority
            client |= {"root_certificate": ca.read_bytes(), "disable_system_certificates": True}
        config = {
            # obstore reads all variables AWS_…; if not set here, these options could break or weaken a request.
            "aws_endpoint_url_s3": url,
            "region": self._settings.s3_region,
            "virtual_hosted_style_request": False,
            "skip_signature": False,
            "unsigned_payload": False,
        }
        retry = {"max_retries": 1, "backoff": {"init_backoff": timedelta(seconds=0.1)}}
        return S3Store(
            bucket,
            config=cast(Any, config),
            client_options=cast(Any, client),
            retry_config=cast(Any, retry),
            credential_provider=self._credential,
        )

    def _credential(self) -> Any:
        return {
            "access_key_id": self._settings.s3_access_key,
            "secret_access_key": self._settings.s3_secret_key.get_secret_value(),
            "expires_at": None,
        }


@contextmanager
def _translated() -> Iterator[None]:
    """Raise obstore's errors as Missing or Unavailable. Their texts stay in the cause, which only the logs show."""
    try:
        yield
    except FileNotFoundError as error:
        # obstore raises it for every 404: also for a missing bucket, and for a proxy's own page.
        if any(code in str(error) for code in MISSING):
            raise Missing from error
        STORE_ERRORS.inc()
        raise Unavailable("object store: an unexpected 404") from error
    except (BaseError, OSError, ValueError) as error:
        STORE_ERRORS.inc()
        raise Unavailable(f"object store: {type(error).__name__}") from error
