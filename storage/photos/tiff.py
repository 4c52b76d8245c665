"""TIFF 6.0 and BigTIFF: strip a file to its first image, with a directory of the pixels' tags only.

A directory may declare 65,535 tags of 10 MB at one offset, refer to further directories without
end, or use one strip for the whole image. The new directory keeps all of this from the decoder.
"""

import struct

from storage.photos.containers import Bare, Limits, Size, TooCostly, with_edge
from storage.photos.jpeg import check_sequential
from storage.photos.tiff_directory import Fields, read, with_directory

COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
# libtiff reports damage to neither Pillow nor us, and writes a line to stderr for each row.
_FAX = {2: "fax (Modified Huffman)", 3: "fax (Group 3)", 4: "fax (Group 4)"}
_OLD_JPEG = {6: "JPEG in the form that TIFF gave up in 1995"}
_REFUSED = {**_FAX, **_OLD_JPEG}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_PREDICTOR, _PALETTE, _EXTRA, _FILL_ORDER = 317, 320, 338, 266
_JPEG_TABLES, _SUBSAMPLING = 347, 530
_KEPT = frozenset([
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES, _TILE_WIDTH,
    _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT, _PREDICTOR, _PALETTE, _EXTRA, _FILL_ORDER, _JPEG_TABLES,
    _SUBSAMPLING,
])  # fmt: skip
_JPEG = 7
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6


def bare_tiff(content: bytes, limits: Limits) -> Bare:
    """The first image with a new directory. Raises ValueError or TooCostly."""
    try:
        fields, profile = read(content, _KEPT)
        _check(fields, content, limits)
        # The caller applies the orientation of the original directory; the decoder does not see it.
        return Bare(with_directory(content, fields), content, profile)
    except (KeyError, IndexError, struct.error, ZeroDivisionError, OverflowError) as error:
        raise ValueError("the directory is damaged, or a field is missing") from error


def _check(fields: Fields, content: bytes, limits: Limits) -> None:
    """Raises ValueError or TooCostly if the pieces do not form the image, overlap, or are too
    large.
    """
    width, height, samples = _one(fields, _WIDTH), _one(fields, _HEIGHT), _one(fields, _SAMPLES, 1)
    limits.check((width, height))
    _check_coding(fields, samples)
    if _TILES in fields:
        piece = _one(fields, _TILE_WIDTH), _one(fields, _TILE_HEIGHT)
        across, down = -(-width // piece[0]), -(-height // piece[1])
        limits.check(piece)
        if across * down * piece[0] * piece[1] > 2 * with_edge((width, height)):
            raise TooCostly("The tiles of the TIFF are far larger than the photo.")
        pieces, places, sizes = across * down, fields[_TILES][1], fields[_TILE_BYTES][1]
    else:
        piece = width, min(height, _one(fields, _ROWS, height))
        pieces = -(-height // piece[1])
        places, sizes = fields[_STRIPS][1], fields[_STRIP_BYTES][1]
    if _one(fields, _PLANES, 1) != 1:
        pieces *= samples
    if not len(places) == len(sizes) == pieces:
        raise ValueError("the number of strips or tiles does not match the image")
    if any(place + size > len(content) for place, size in zip(places, sizes, strict=True)):
        raise ValueError("a strip or tile is truncated")
    if sum(sizes) > len(content):
        raise TooCostly("The strips or tiles of the TIFF overlap.")
    if _one(fields, _COMPRESSION, 1) == _JPEG:
        _check_jpegs([content[place : place + size] for place, size in zip(places, sizes, strict=True)], piece)


def _check_jpegs(pieces: list[bytes], size: Size) -> None:
    for piece in pieces:
        check_sequential(piece, size)


def _check_coding(fields: Fields, samples: int) -> None:
    compression, colors = _one(fields, _COMPRESSION, 1), _one(fields, _COLORS)
    if compression not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise TooCostly(f"The TIFF has compression {_REFUSED.get(compression, compression)}. Accepted: {known}.")
    whole_ycbcr = colors == _YCBCR and compression == _JPEG and _one(fields, _PLANES, 1) == 1
    if colors not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _CMYK) and not whole_ycbcr:
        raise TooCostly("The colours of the TIFF are neither grey, RGB, a palette nor CMYK.")
    bits = fields.get(_BITS, (3, (1,)))[1]
    formats = fields.get(_SAMPLE_FORMAT, (3, (1,)))[1]
    if samples > 5 or len(bits) > samples or {*bits} - {1, 2, 4, 8, 16} or {*formats} != {1}:
        raise TooCostly("The samples of the TIFF are not whole numbers of 1 to 16 bits.")
    if compression == _JPEG and {*bits} != {8}:
        raise TooCostly("The JPEG within the TIFF does not have 8 bits per sample.")


def _one(fields: Fields, tag: int, default: int | None = None) -> int:
    if default is not None and tag not in fields:
        return default
    [value] = fields[tag][1]
    return value
