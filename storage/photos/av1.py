"""Read the sizes in an AV1 image without a decoder (AV1 bitstream specification, 5.3 to 5.9)."""

from collections.abc import Iterator

from storage.photos.bits import Bits
from storage.photos.containers import Size, TooCostly

MOST_FRAMES = 4  # the layers of a progressive AVIF
MOST_UNITS = 2000  # open bitstream units
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6
_LONGEST = 1024  # bytes of a sequence header, with the most operating points


def sizes(configuration: bytes, data: bytes) -> list[Size]:
    """The sizes of all sequences in an av1C property and in its item.

    Raises ValueError or TooCostly.
    """
    declared, frames = [], 0
    for number, (kind, body) in enumerate((*_units(configuration[4:]), *_units(data))):
        frames += kind in (_FRAME_HEADER, _FRAME)
        if number == MOST_UNITS or frames > MOST_FRAMES:
            raise TooCostly("An image in the AVIF is a video: only still images are accepted.")
        if kind == _SEQUENCE:
            declared.append(_size(Bits(body)))
    return declared


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        head = data[position]
        position += 2 if head & 4 else 1
        length, position = _length(data, position) if head & 2 else (len(data) - position, position)
        if position + length > len(data):
            raise ValueError("a unit is truncated")
        yield head >> 3 & 15, data[position : position + min(length, _LONGEST)]
        position += length


def _length(data: bytes, position: int) -> tuple[int, int]:
    """The leb128() number at `position`, and the position after it."""
    value = 0
    for place in range(8):
        byte = data[position + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, position + place + 1
    raise ValueError("a length of more than 8 bytes")


def _size(bits: Bits) -> Size:
    """The largest frame of the sequence (5.5.1)."""
    bits.read(3 + 1)
    if bits.read(1):  # reduced_still_picture_header
        bits.read(5)
    else:
        _operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _operating_points(bits: Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)
        if bits.read(1):  # equal_picture_interval
            bits.exp_golomb()
        if bits.read(1):  # decoder_model_info_present_flag
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # seq_level_idx
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if delayed and bits.read(1):
            bits.read(4)
