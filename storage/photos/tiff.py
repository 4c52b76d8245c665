"""TIFF 6.0: strip a file to its first image, with a new directory of the pixels' tags only.

A directory may declare 65,535 tags of 10 MB at one offset, refer to further directories without
end, or use one strip for the whole image. The new directory keeps all of this from the decoder.
"""

import struct
from collections.abc import Mapping

from storage.photos.containers import MOST_PROFILE, Bare, Limits, TooCostly, with_edge

TIFF_SIGNATURES = {b"II*\0": "<", b"MM\0*": ">"}
MOST_PIECES = 20_000  # strips or tiles
COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _ORIENTATION = 256, 257, 258, 259, 262, 274
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES, _PROFILE = 273, 277, 278, 279, 284, 34675
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_PREDICTOR, _PALETTE, _EXTRA, _FILL_ORDER = 317, 320, 338, 266
_SUBFILE, _DNG_VERSION = 254, 50706
_WHOLE = (b"\0\0\0\0", b"\2\0\0\0", b"\0\0\0\2", b"\0\2\0\0")  # not a reduced image or a mask; may be a page of several
_KEPT = frozenset([
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES, _TILE_WIDTH,
    _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT, _PREDICTOR, _PALETTE, _EXTRA, _FILL_ORDER,
])  # fmt: skip
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK = 0, 1, 2, 3, 5
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG
_BYTES = (1, 7)  # BYTE, UNDEFINED

Fields = dict[int, tuple[int, tuple[int, ...]]]  # tag: type and values


def bare_tiff(content: bytes, limits: Limits) -> Bare:
    """The first image with a new directory. Raises ValueError or TooCostly."""
    order = TIFF_SIGNATURES[content[:4]]
    try:
        fields, profile = _read(content, order)
        _check(fields, len(content), limits)
    except (KeyError, IndexError, struct.error, ZeroDivisionError) as error:
        raise ValueError("the directory is damaged, or a field is missing") from error
    padding = bytes(len(content) % 2)
    place = len(content) + len(padding)
    head = content[:4] + struct.pack(f"{order}I", place)
    # The caller applies the orientation of the original directory; the decoder does not see it.
    return Bare(head + content[8:] + padding + _written(fields, order, place), content, profile)


def _read(content: bytes, order: str) -> tuple[Fields, bytes]:
    fields: Fields = {}
    profile = b""
    [start] = struct.unpack_from(f"{order}I", content, 4)
    [count] = struct.unpack_from(f"{order}H", content, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", content, at)
        if tag == _PROFILE and kind in _BYTES and values <= MOST_PROFILE:
            [place] = struct.unpack_from(f"{order}I", content, at + 8)
            profile = content[place : place + values]
        if tag == _DNG_VERSION or (tag == _SUBFILE and content[at + 8 : at + 12] not in _WHOLE):
            raise TooCostly("The TIFF is a camera's raw file, or begins with a preview. Develop it first.")
        if tag not in _KEPT or tag in fields:
            continue
        if values > MOST_PIECES:
            raise TooCostly(f"The TIFF has more than {MOST_PIECES} strips or tiles.")
        layout = f"{order}{values}{_NUMBERS[kind]}"
        place = at + 8
        if struct.calcsize(layout) > 4:
            [place] = struct.unpack_from(f"{order}I", content, place)
        fields[tag] = kind, struct.unpack_from(layout, content, place)
    return fields, profile


def _check(fields: Fields, length: int, limits: Limits) -> None:
    """Raises ValueError or TooCostly if the pieces do not form the image, overlap, or are too
    large.
    """
    width, height, samples = _one(fields, _WIDTH), _one(fields, _HEIGHT), _one(fields, _SAMPLES, 1)
    limits.check((width, height))
    _check_coding(fields, samples)
    if _TILES in fields:
        across, down = -(-width // _one(fields, _TILE_WIDTH)), -(-height // _one(fields, _TILE_HEIGHT))
        limits.check((_one(fields, _TILE_WIDTH), _one(fields, _TILE_HEIGHT)))
        if across * down * _one(fields, _TILE_WIDTH) * _one(fields, _TILE_HEIGHT) > 2 * with_edge((width, height)):
            raise TooCostly("The tiles of the TIFF are far larger than the photo.")
        pieces, places, sizes = across * down, fields[_TILES][1], fields[_TILE_BYTES][1]
    else:
        pieces = -(-height // min(height, _one(fields, _ROWS, height)))
        places, sizes = fields[_STRIPS][1], fields[_STRIP_BYTES][1]
    if _one(fields, _PLANES, 1) != 1:
        pieces *= samples
    if not len(places) == len(sizes) == pieces:
        raise ValueError("the number of strips or tiles does not match the image")
    if any(place + size > length for place, size in zip(places, sizes, strict=True)):
        raise ValueError("a strip or tile is truncated")
    if sum(sizes) > length:
        raise TooCostly("The strips or tiles of the TIFF overlap.")


def _check_coding(fields: Fields, samples: int) -> None:
    compression = _one(fields, _COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise TooCostly(f"The TIFF has compression {compression}. Accepted: {known}.")
    if _one(fields, _COLORS) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK):
        raise TooCostly("The colours of the TIFF are neither grey, RGB, a palette nor CMYK.")
    bits = fields.get(_BITS, (3, (1,)))[1]
    formats = fields.get(_SAMPLE_FORMAT, (3, (1,)))[1]
    if samples > 5 or len(bits) > samples or {*bits} - {1, 2, 4, 8, 16} or {*formats} != {1}:
        raise TooCostly("The samples of the TIFF are not whole numbers of 1 to 16 bits.")


def _one(fields: Fields, tag: int, default: int | None = None) -> int:
    if default is not None and tag not in fields:
        return default
    [value] = fields[tag][1]
    return value


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
