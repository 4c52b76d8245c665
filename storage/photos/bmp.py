"""BMP: limit the size of files with run-length compression."""

import struct

from storage.photos.containers import Bare, TooCostly

# Pillow decodes runs in Python: a second for 10 megapixels or 2 MB.
MOST_RUN_PIXELS = 10_000_000
MOST_RUN_BYTES = 2 * 1024 * 1024

_OLD_HEADER = 12  # bytes of the OS/2 header, which has no compression field
_RUN_LENGTHS = (1, 2)


def bare_bmp(content: bytes) -> Bare:
    """The file unchanged. Raises TooCostly for too large a file with run-length compression."""
    try:
        header, width, height, _, compression = struct.unpack_from("<IiiII", content, 14)
    except struct.error:
        return Bare(content)  # the decoder reports the missing header
    large = abs(width * height) > MOST_RUN_PIXELS or len(content) > MOST_RUN_BYTES
    if header > _OLD_HEADER and compression in _RUN_LENGTHS and large:
        raise TooCostly(
            f"A BMP with run-length compression may have at most {MOST_RUN_PIXELS} pixels and {MOST_RUN_BYTES} bytes: "
            "save it as PNG."
        )
    return Bare(content)
