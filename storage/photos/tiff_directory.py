"""The directory of a TIFF 6.0 or BigTIFF file: read it, and write a new one."""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from storage.photos.containers import MOST_PROFILE, TooCostly

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")  # BigTIFF with offsets of 8 bytes
MOST_PIECES = 20_000  # strips or tiles

_PROFILE, _SUBFILE, _DNG_VERSION = 34675, 254, 50706
_WHOLE = (b"\0\0\0\0", b"\2\0\0\0", b"\0\0\0\2", b"\0\2\0\0")  # not a reduced image or a mask; may be a page of several
_BYTE, _LONG, _UNDEFINED, _LONG8 = 1, 4, 7, 16
_NUMBERS = {_BYTE: "B", 3: "H", _LONG: "I", _UNDEFINED: "B", _LONG8: "Q"}

Fields = dict[int, tuple[int, tuple[int, ...]]]  # tag: type and values


@dataclass(frozen=True)
class _Layout:
    """`order`: of bytes; `count`, `offset`: how the number of entries, and an offset, are packed."""

    order: str
    count: str
    offset: str
    start: int  # the place of the offset of the first directory

    @property
    def place_bytes(self) -> int:
        return struct.calcsize(self.offset)


def read(content: bytes, kept: Collection[int]) -> tuple[Fields, bytes]:
    """The fields of the first directory whose tags are in `kept`, and the ICC profile.

    Raises TooCostly, struct.error, KeyError or OverflowError.
    """
    layout = _layout(content)
    order, width = layout.order, layout.place_bytes
    fields: Fields = {}
    profile = b""
    [start] = struct.unpack_from(order + layout.offset, content, layout.start)
    [count] = struct.unpack_from(order + layout.count, content, start)
    first, size = start + struct.calcsize(order + layout.count), 4 + 2 * width
    for at in range(first, first + size * count, size):
        tag, kind, values = struct.unpack_from(f"{order}HH{layout.offset}", content, at)
        place = at + 4 + width
        if tag == _PROFILE and kind in (_BYTE, _UNDEFINED) and values <= MOST_PROFILE:
            [place] = struct.unpack_from(order + layout.offset, content, place)
            profile = content[place : place + values]
        if tag == _DNG_VERSION or (tag == _SUBFILE and content[place : place + 4] not in _WHOLE):
            raise TooCostly("The TIFF is a camera's raw file, or begins with a preview. Develop it first.")
        if tag not in kept or tag in fields:
            continue
        if values > MOST_PIECES:
            raise TooCostly(f"The TIFF has more than {MOST_PIECES} strips or tiles.")
        packed = f"{order}{values}{_NUMBERS[kind]}"
        if struct.calcsize(packed) > width:
            [place] = struct.unpack_from(order + layout.offset, content, place)
        fields[tag] = _LONG if kind == _LONG8 else kind, struct.unpack_from(packed, content, place)
    return fields, profile


def with_directory(content: bytes, fields: Mapping[int, tuple[int, tuple[int, ...]]]) -> bytes:
    """The content as TIFF 6.0 with a new directory at its end. Its other offsets stay valid.

    Raises struct.error if a value exceeds 32 bits.
    """
    order = _layout(content).order
    padding = bytes(len(content) % 2)
    place = len(content) + len(padding)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", place)
    return head + content[8:] + padding + _written(fields, order, place)


def _layout(content: bytes) -> _Layout:
    order = "<" if content.startswith(b"II") else ">"
    return _Layout(order, "Q", "Q", 8) if b"+" in content[2:4] else _Layout(order, "H", "I", 4)


def _written(fields: Mapping[int, tuple[int, tuple[int, ...]]], order: str, place: int) -> bytes:
    """The bytes of a directory at offset `place`, followed by its long values."""
    entries, behind = b"", b""
    place += 2 + 12 * len(fields) + 4
    for tag, (kind, values) in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}{_NUMBERS[kind]}", *values)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", place + len(behind))
            behind += packed + bytes(len(packed) % 2)
    return struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + behind
