"""File names: decode those that clients send, clean them for display, and name downloads."""

import re
import unicodedata
from urllib.parse import quote

from werkzeug.datastructures import FileStorage

from storage.problems import Problem

LONGEST_FILENAME_BYTES = 255  # as in a file system
LONGEST_STEM_BYTES = 200  # of a download; leaves room for its extension
# These characters reorder or break the text around them (Unicode, UAX 9 and 14).
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BREAKS = "\u2028\u2029"
ESCAPES = {"%22": '"', "%0A": "\n", "%0D": "\r", '\\"': '"', "\\\\": "\\"}
_ESCAPE = re.compile("|".join(map(re.escape, ESCAPES)))
_QUOTED = re.compile(r';\s*filename\s*=\s*"((?:\\["\\]|[^"])*)"', re.IGNORECASE)
_EXTENDED = re.compile(r";\s*filename\*", re.IGNORECASE)
_UNSAFE_IN_QUOTES = re.compile(r'[^\x20-\x7e]|["\\%]')


def visible(text: str) -> str:
    """Remove control and bidirectional characters, and lone surrogates, which cannot be encoded."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs") and c not in BIDI + BREAKS)


def sent_name(file: FileStorage) -> str:
    """Return the file name of a multipart part as it is on the client's disk.

    Browsers and curl write a quote, a line feed and a carriage return as %22, %0A and %0D (HTML
    standard, "multipart form data"). Older versions of curl put a backslash before a quote and
    before a backslash. This function decodes these escapes once and nothing else: browsers encode
    neither a percent sign nor a backslash.
    """
    header = file.headers.get("Content-Disposition", "")
    quoted = _QUOTED.search(header)
    if quoted is None or _EXTENDED.search(header[: quoted.start()] + header[quoted.end() :]):
        return file.filename or ""  # a `filename*` (RFC 5987) or a name without quotes
    return _ESCAPE.sub(lambda escape: ESCAPES[escape[0]], quoted[1])


def clean_filename(name: str) -> str:
    """Return the last path segment for display: no control or bidirectional characters, 255 bytes at most."""
    return _cut(visible(name.replace("\\", "/").rpartition("/")[2]), LONGEST_FILENAME_BYTES)


def checked_custom_id(name: str) -> str:
    """Return a batch item's name unchanged.

    Raises Problem unless it is a relative path that stays inside its folder.
    """
    size = len(name.encode(errors="replace"))
    if not 0 < size <= LONGEST_FILENAME_BYTES:
        raise Problem("invalid_request", f"The file name has {size} bytes; 1 to {LONGEST_FILENAME_BYTES} are accepted.")
    if name != visible(name):
        raise Problem("invalid_request", "The file name has control or bidirectional characters.")
    if "\\" in name or set(name.split("/")) & {"", ".", ".."}:
        raise Problem("invalid_request", "The file name must be a relative path with forward slashes, without . or ..")
    return name


def content_disposition(kind: str, name: str, extension: str) -> str:
    """Return the Content-Disposition (RFC 6266) that saves a response under a photo's or batch's name.

    `kind`: inline or attachment. `filename` is for clients that do not support `filename*`; it
    contains none of the characters that clients interpret differently.
    """
    stem = _cut(visible(name).rpartition("/")[2], LONGEST_STEM_BYTES)
    whole = f"{stem}.{extension}"
    plain = _UNSAFE_IN_QUOTES.sub("_", whole)
    extended = "" if plain == whole else f"; filename*=UTF-8''{quote(whole, safe='')}"
    return f'{kind}; filename="{plain}"{extended}'


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")
