"""What lies around the pixels: cut off before a decoder sees it, so that it can neither slow it down nor fool it.

A file of 10 MB may hold millions of empty segments, and the decoders look at each of them in Python: seconds of one
processor and hundreds of megabytes, in the web for a mere look at the header.
"""

import re
import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 10_000  # of a PNG; one of 10 MB in the usual pieces of 8 kB has 1,300
MOST_SEGMENTS = 1000  # of a JPEG; an ICC profile may take 255
MOST_SCANS = 20  # of a JPEG; each goes over every block of the image. libjpeg writes 10, and 18 for CMYK
ANIMATION = (b"acTL", b"fcTL", b"fdAT")  # without them an APNG is the PNG of its first frame

_START, _END, _SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# Frames with arithmetic coding (ITU T.81, table B.1): ten times slower to decode, and no camera or browser writes them.
_ARITHMETIC = frozenset([0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
# APPn and comments, but not what tells the colour space: JFIF (APP0) and Adobe (APP14).
_METADATA = frozenset([*range(0xE1, 0xEE), 0xEF, 0xFE])
# Stuffed bytes, padding and restart markers belong to what stands before them.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
_ORIENTATION, _BYTE, _SHORT, _LONG = 274, 1, 3, 4


class TooCostly(ValueError):
    """A file that decodes far slower than a photo, or that needs far more memory. Its text is for the sender."""


def bare_jpeg(content: bytes) -> tuple[bytes, bytes]:
    """→ the first picture without its metadata, and its EXIF block. Raises TooCostly."""
    kept, exif, scans = [], b"", 0
    for number, (kind, start, end) in enumerate(_segments(content)):
        scans += kind == _SCAN
        if kind in _ARITHMETIC:
            raise TooCostly("The JPEG uses arithmetic coding: save it as a baseline or progressive JPEG.")
        if scans > MOST_SCANS:
            raise TooCostly(f"The JPEG has more than {MOST_SCANS} scans.")
        if number >= MOST_SEGMENTS:
            raise TooCostly(f"The JPEG has more than {MOST_SEGMENTS} segments.")
        if kind not in _METADATA:
            kept.append(content[start:end])
        elif kind == _APP1 and content.startswith(b"Exif\0\0", start + 4):
            exif = exif or content[start + 4 : end]
    return b"".join(kept), exif


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each, a scan with its data, up to the end of the first picture."""
    position = 0
    while found := _MARKER.search(content, position):
        kind, start, position = found[1][0], found.start(), found.end()
        if kind not in (_START, _END):
            position += max(2, int.from_bytes(content[position : position + 2], "big"))
        if kind == _SCAN:
            following = _MARKER.search(content, position)
            position = following.start() if following else len(content)
        yield kind, start, position
        if kind == _END:
            return


def bare_png(content: bytes) -> bytes:
    """Without its animation. Raises TooCostly."""
    kept, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if position >= len(content):
            return b"".join(kept)
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] not in ANIMATION:
            kept.append(content[position:end])
        position = end
    raise TooCostly(f"The PNG has more than {MOST_CHUNKS} chunks.")


def orientation(exif: bytes) -> int:
    """The tag of the first directory (TIFF 6.0, tag 274), 1 to 8; 1 where it is absent or unreadable."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    [start] = struct.unpack_from(f"{order}I", tiff, 4)
    count = int.from_bytes(tiff[start : start + 2], "little" if order == "<" else "big")
    entries = tiff[start + 2 : start + 2 + 12 * count]
    whole = entries[: len(entries) // 12 * 12]
    for tag, kind, values, value in struct.iter_unpack(f"{order}HHI4s", whole):
        if tag == _ORIENTATION and values == 1 and kind in (_BYTE, _SHORT, _LONG):
            [turn] = struct.unpack_from(order + {_BYTE: "B", _SHORT: "H", _LONG: "I"}[kind], value)
            return int(turn) if 1 <= turn <= 8 else 1
    return 1
