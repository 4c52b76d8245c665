"""Class ids to a palette PNG (W3C PNG, third edition)."""

import struct
from collections.abc import Mapping
from zlib import crc32

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from model.labels import Label

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EIGHT_BITS, PALETTE = 8, 3
STRIPE_BYTES = 128 * 1024


def to_mask_png(
    mask: NDArray[np.uint8], labels: tuple[Label, ...], text: Mapping[str, str], chunks: Mapping[bytes, bytes]
) -> bytes:
    """uint8[h,w] class ids → palette PNG in the labels' colours.

    `text`: ASCII keywords and values, stored in tEXt chunks; `chunks`: further ancillary chunks by type.

    The rows are not filtered: filters do not help masks. ISA-L compresses them seven times as fast as zlib at level 1,
    into a file of nearly the same size; Pillow can use zlib only.
    """
    height, width = mask.shape
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, EIGHT_BITS, PALETTE, 0, 0, 0)),
        (b"PLTE", bytes(channel for label in labels for channel in label.color)),
        *((b"tEXt", f"{key}\0{value}".encode("ascii")) for key, value in text.items()),
        *chunks.items(),
        (b"IDAT", _compressed(mask)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _compressed(mask: NDArray[np.uint8]) -> bytes:
    """Compress one stripe of rows at a time; a stripe fits into the processor's cache."""
    height, width = mask.shape
    count = max(1, STRIPE_BYTES // (width + 1))
    rows = np.zeros((count, width + 1), np.uint8)  # each row begins with the number of its filter: 0, none
    compressor, parts = isal_zlib.compressobj(), []
    for start in range(0, height, count):
        stripe = mask[start : start + count]
        rows[: len(stripe), 1:] = stripe
        parts.append(compressor.compress(rows[: len(stripe)]))
    return b"".join((*parts, compressor.flush()))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))
