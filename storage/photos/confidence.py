"""The model's probabilities per pixel: small grey images in private chunks of the mask's PNG.

The chunks are ancillary and private, so decoders skip them, and not safe to copy, so an editor that
changes the mask must drop them (PNG, third edition, 5.4). Each holds width and height, each a big-
endian unsigned 16-bit number, then the deflated values, one byte each, row by row. 0 is impossible,
MOST is certain.
"""

import io
import struct
import zlib

from PIL import Image

CONFIDENCE = b"seCF"  # of the likeliest class
BACKGROUND = b"seBG"  # of the class "background", if the model has one
MOST = 127  # the int8 engine's logits are coarser than that, and the eighth bit would cost 2 kB a mask
_SIZE = struct.Struct(">HH")


def pack(values: bytes, width: int) -> bytes:
    """The chunk's content; `values`: 0 to MOST, in rows of `width`."""
    # The values consist of runs. Searching for longer matches would cost time and save nothing.
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return _SIZE.pack(width, len(values) // width) + deflate.compress(values) + deflate.flush()


def read(mask: bytes, name: bytes) -> Image.Image | None:
    """A chunk of a mask PNG: mode L, 0 to 255, at the network's size. None if the mask has none of that name.

    Does not decode the mask's pixels.
    """
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
        found = [chunk[1] for chunk in image.private_chunks if chunk[0] == name]  # type: ignore[attr-defined]
    if not found:
        return None
    values = Image.frombytes("L", _SIZE.unpack_from(found[0]), zlib.decompress(found[0][_SIZE.size :]))
    return values.point([round(min(value, MOST) * 255 / MOST) for value in range(256)])
