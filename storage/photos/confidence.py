"""How sure the model was, at each point: a small grey picture inside the mask's PNG, in a chunk of its own.

The chunk is ancillary and private, so that every decoder skips it, and not safe to copy: an editor that changes the
mask must drop it (PNG, third edition, 5.4). Its content: width and height, each an unsigned 16-bit number, big-endian,
then the values, row by row, one byte each, deflated. 0 is impossible, MOST certain.
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
    # Runs are all that is to be found in them: any search for longer matches costs more and saves nothing.
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return _SIZE.pack(width, len(values) // width) + deflate.compress(values) + deflate.flush()


def read(mask: bytes) -> Image.Image | None:
    """Out of a mask PNG, without decoding its pixels: mode L, 0 to 255, at the network's size; None without a chunk."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
        found = [chunk[1] for chunk in image.private_chunks if chunk[0] == CHUNK]  # type: ignore[attr-defined]
    if not found:
        return None
    values = Image.frombytes("L", _SIZE.unpack_from(found[0]), zlib.decompress(found[0][_SIZE.size :]))
    return values.point([round(min(value, MOST) * 255 / MOST) for value in range(256)])
