"""Read the sizes in a WebP file without a decoder (RFC 9649)."""

from dataclasses import dataclass

from storage.photos.containers import Size

_ANIMATED = 0x02  # a flag of the VP8X chunk
_LOSSLESS = 0x2F  # the first byte of a VP8L chunk


@dataclass(frozen=True)
class Sizes:
    """The sizes of the canvas and of the first frame; equal if the file is not animated."""

    canvas: Size
    frame: Size


def sizes(content: bytes) -> Sizes | None:
    """The declared sizes; None if the content is not a WebP file or its header is truncated."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(content) < 30:
        return None
    kind, body = content[12:16], content[20:30]
    if kind == b"VP8X":
        canvas = 1 + _24_bits(body, 4), 1 + _24_bits(body, 7)
        return Sizes(canvas, (_first_frame(content) or canvas) if body[0] & _ANIMATED else canvas)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return Sizes((width, height), (width, height))
    if kind == b"VP8L" and body[0] == _LOSSLESS:
        bits = int.from_bytes(body[1:5], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        return Sizes(size, size)
    return None


def _first_frame(content: bytes) -> Size | None:
    """The size in the first ANMF chunk, which follows VP8X, ANIM and maybe a profile; None without
    one.
    """
    position = 12
    for _ in range(16):
        kind, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        body = content[position + 8 : position + 24]
        if kind == b"ANMF" and len(body) == 16:
            return 1 + _24_bits(body, 6), 1 + _24_bits(body, 9)
        position += 8 + length + length % 2
    return None


def _24_bits(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")
