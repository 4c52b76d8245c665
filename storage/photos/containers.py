"""Common parts of the format modules, which strip a file before a decoder sees it.

A file of 10 MB may hold millions of empty segments. The decoders visit each in Python, which costs
a web process seconds of CPU and hundreds of megabytes just to read the header.
"""

import struct
from dataclasses import dataclass

MOST_PROFILE = 4 * 1024 * 1024  # bytes of an ICC profile; profiles for printing have 0.5 to 2.7 MB

Size = tuple[int, int]  # width, height
Box = tuple[int, int, int, int]  # left, top, right, bottom
EDGE = 512  # pixels by which tiles may exceed the photo; phones write tiles of 512

_ORIENTATION, _BYTE, _SHORT, _LONG = 274, 1, 3, 4


class TooCostly(ValueError):
    """A file that would take far more time or memory to decode than a photo.

    The message is for the caller.
    """


def with_edge(size: Size) -> int:
    """The pixels of a photo including what its tiles may exceed it by.

    Memory is reserved without that.
    """
    return (size[0] + EDGE) * (size[1] + EDGE)


@dataclass(frozen=True)
class Limits:
    """The settings `max_upload_pixels` and `max_upload_side`."""

    pixels: int
    side: int

    def check(self, size: Size) -> None:
        """Raises TooCostly for a larger image."""
        if max(size) > self.side or size[0] * size[1] > self.pixels:
            raise TooCostly(f"An image may have at most {self.pixels} pixels and {self.side} pixels per side.")


@dataclass(frozen=True)
class Bare:
    """A file reduced to its first image, and the metadata removed from it: EXIF block and ICC
    profile.

    `ended`: whether the file had an end. If not, `content` has one, but pixels may be missing.
    `frame`: the part of the canvas that has pixels, if not all of it.
    """

    content: bytes
    exif: bytes = b""
    profile: bytes = b""
    ended: bool = True
    frame: Box | None = None


def orientation(exif: bytes) -> int:
    """The orientation (TIFF 6.0, tag 274) in the first directory, 1 to 8; 1 if missing or
    unreadable.
    """
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
