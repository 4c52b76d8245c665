"""GIF (version 89a): strip a file to its first frame."""

import struct

from storage.photos.containers import Bare, Limits, TooCostly
from storage.photos.costs import check_frame

GIF_SIGNATURES = (b"GIF87a", b"GIF89a")
MOST_BLOCKS = 100_000  # of data; 10 MB have 41,000 of the usual 255 bytes
MOST_EXTENSIONS = 1000  # before the first frame

_EXTENSION, _FRAME, _CONTROL = 0x21, 0x2C, 0xF9


def bare_gif(content: bytes, limits: Limits) -> Bare:
    """The file without other frames, comments and loops. Raises ValueError or TooCostly."""
    try:
        return _first_frame(content, limits)
    except (IndexError, struct.error) as error:
        raise ValueError("the GIF is truncated") from error


def _first_frame(content: bytes, limits: Limits) -> Bare:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    start = position = 13 + _palette(flags)
    control = b""
    for _ in range(MOST_EXTENSIONS):
        if content[position] != _EXTENSION:
            break
        end = _end_of_blocks(content, position + 2)
        if content[position + 1] == _CONTROL:
            control = content[position:end]
        position = end
    if content[position] != _FRAME:
        raise ValueError("the frame is missing")
    left, top, wide, high, flags = struct.unpack_from("<HHHHB", content, position + 1)
    canvas = max(width, left + wide), max(height, top + high)
    limits.check(canvas)
    check_frame((wide, high), canvas)
    end = _end_of_blocks(content, position + 11 + _palette(flags))
    frame = None if (wide, high) == canvas else (left, top, left + wide, top + high)
    return Bare(content[:start] + control + content[position:end] + b";", frame=frame)


def _palette(flags: int) -> int:
    """The size of a colour table in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(content: bytes, position: int) -> int:
    for _ in range(MOST_BLOCKS):
        length = content[position]
        position += 1 + length
        if not length:
            return position
    raise TooCostly(f"The GIF has more than {MOST_BLOCKS} blocks.")
