"""JPEG (ITU T.81): strip a file to its first image."""

import re
import struct
from collections.abc import Iterator

from storage.photos.containers import MOST_PROFILE, Bare, Size, TooCostly

JPEG_SIGNATURE = b"\xff\xd8\xff"
MOST_SEGMENTS = 1000  # an ICC profile may take 255
MOST_INNER_SEGMENTS = 20  # of a strip or tile: tables, one frame, one scan
MOST_SCANS = 20  # each visits every block of the image; libjpeg writes 10, and 18 for CMYK

END = b"\xff\xd9"
SCAN = 0xDA
SEQUENTIAL = frozenset([0xC0, 0xC1])  # frames with Huffman coding (T.81, table B.1)

_START, _END, _APP1, _APP2 = 0xD8, 0xD9, 0xE1, 0xE2
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the others are tables or reserved
# Frames with arithmetic coding (ITU T.81, table B.1) decode ten times slower; cameras and browsers
# do not write them.
_ARITHMETIC = frozenset([0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
# APPn and comments, except those that define the colour space: JFIF (APP0) and Adobe (APP14).
_METADATA = frozenset([*range(0xE1, 0xEE), 0xEF, 0xFE])
# Excludes stuffed bytes, padding and restart markers, which belong to the preceding segment.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")


def bare_jpeg(content: bytes) -> Bare:
    """The first image without its metadata, and with an end marker. Raises TooCostly."""
    kept, exif, profile, scans, ended = [], b"", [], 0, False
    for number, (kind, start, end) in enumerate(segments(content)):
        scans += kind == SCAN
        if kind in _ARITHMETIC:
            raise TooCostly("The JPEG uses arithmetic coding: save it as a baseline or progressive JPEG.")
        if scans > MOST_SCANS:
            raise TooCostly(f"The JPEG has more than {MOST_SCANS} scans.")
        if number >= MOST_SEGMENTS:
            raise TooCostly(f"The JPEG has more than {MOST_SEGMENTS} segments.")
        ended = kind == _END
        if kind not in _METADATA:
            kept.append(content[start:end])
        elif kind == _APP1 and content.startswith(_EXIF, start + 4):
            exif = exif or content[start + 4 : end]
        elif kind == _APP2 and content.startswith(_PROFILE, start + 4):
            profile.append(content[start + 4 + len(_PROFILE) : end])
    whole = b"".join(kept)
    # Half an end marker would be read as the start of the appended one.
    return Bare(whole if ended else whole.rstrip(b"\xff") + END, exif, _joined(profile), ended)


def check_sequential(content: bytes, most: Size) -> None:
    """Check a JPEG within another file: Huffman coding in one scan, at most as large as `most`.

    Raises ValueError or TooCostly.
    """
    kinds = []
    for kind, start, _ in segments(content):
        kinds.append(kind)
        if kind in _FRAMES:
            height, width = struct.unpack_from(">HH", content, start + 5)
            if not (0 < width <= most[0] and 0 < height <= most[1]):
                raise ValueError("a JPEG within the file is larger than its strip or tile")
        if kind in _FRAMES - SEQUENTIAL or kinds.count(SCAN) > 1:
            raise TooCostly("A JPEG within the file is not a baseline JPEG with one scan.")
        if len(kinds) > MOST_INNER_SEGMENTS:
            raise TooCostly(f"A JPEG within the file has more than {MOST_INNER_SEGMENTS} segments.")
    if SCAN not in kinds or kinds[-1] != _END:
        raise ValueError("a JPEG within the file is truncated")


def _joined(parts: list[bytes]) -> bytes:
    """The ICC profile from its numbered parts (ICC.1, annex B.4); empty if a part is missing or
    repeated.
    """
    parts = sorted(parts)
    complete = all(part[:2] == bytes([number, len(parts)]) for number, part in enumerate(parts, 1))
    whole = b"".join(part[2:] for part in parts) if complete and len(parts) < 256 else b""
    return whole if len(whole) <= MOST_PROFILE else b""


def segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, a scan including its data, up to the end of the first
    image.
    """
    position = 0
    while found := _MARKER.search(content, position):
        kind, start, position = found[1][0], found.start(), found.end()
        if kind not in (_START, _END):
            position += max(2, int.from_bytes(content[position : position + 2], "big"))
        if kind == SCAN:
            following = _MARKER.search(content, position)
            position = following.start() if following else len(content)
        yield kind, start, position
        if kind == _END:
            return
