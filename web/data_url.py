"""An image inside a JSON document: `data:image/jpeg;base64,…` (RFC 2397)."""

import base64
import binascii
import re

from storage.problems import Problem
from storage.settings import Settings

_HEAD = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII | re.IGNORECASE)
_WHITESPACE = str.maketrans("", "", " \t\r\n")


def longest_body(settings: Settings) -> int:
    """Return the bytes that the largest allowed image takes in a JSON body: base64 adds a third."""
    return settings.max_upload_bytes * 4 // 3 + 4


def decode(text: str, settings: Settings) -> bytes:
    """Return the image's bytes. Raises Problem if `text` is not a data URL or the image is too large."""
    if re.match(r"https?:", text, re.IGNORECASE):
        raise Problem("invalid_request", "image: the server fetches no URL; send the image itself, as a data URL.")
    head = _HEAD.match(text)
    if head is None:
        raise Problem("invalid_request", "image: must begin with data:image/jpeg;base64, or another image type.")
    encoded = text[head.end() :].translate(_WHITESPACE)
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if size > settings.max_upload_bytes:
        limit = settings.max_upload_bytes
        raise Problem("payload_too_large", f"The image has {size} bytes; at most {limit} are accepted.")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("invalid_request", f"image: not base64 ({error}).") from error
