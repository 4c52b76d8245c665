"""The model's confidence per pixel: a small grey image in a private chunk of the mask's PNG.

The chunk is ancillary and private, so decoders skip it, and not safe to copy, so an editor that
changes the mask must drop it (PNG, third edition, 5.4). It holds width and height, each a big-
endian unsigned 16-bit number, then the deflated values, one byte each, row by row. 0 is impossible,
MOST is certain.
"""

import io
import struct
import zlib

from PIL import Image

CHUNK = b"seCF"
MOST = 127  # the int8 engine's logits are coarser than that, and the eighth bit would cost 2 kB a mask
_SIZE = struct.Struct(">HH")


def pack(values: bytes, width: int) -> bytes:
    """The chunk's content; `values`: 0 to MOST, in rows of `width`."""
    # The values consist of runs. Searching for longer matches would cost time and save nothing.
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return _SIZE.pack(width, len(values) // width) + deflate.compress(values) + deflate.flush()


def read(mask: bytes) -> Image.Image | None:
    """The confidence in a mask PNG: mode L, 0 to 255, at the network's size. None without a chunk.

    Does not decode the mask's pixels.
    """
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
        found = [chunk[1] for chunk in image.private_chunks if chunk[0] == CHUNK]  # type: ignore[attr-defined]
    if not found:
        return None
    values = Image.frombytes("L", _SIZE.unpack_from(found[0]), zlib.decompress(found[0][_SIZE.size :]))
    return values.point([round(min(value, MOST) * 255 / MOST) for value in range(256)])
