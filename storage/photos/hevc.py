"""Read the sizes in a HEVC image without a decoder (ITU-T H.265)."""

from collections.abc import Iterator

from storage.photos.bits import Bits
from storage.photos.containers import Size, TooCostly

MOST_UNITS = 2000  # NAL units of one image; a level allows 600 slices
_SLICES = range(32)  # NAL unit types of coded slices
_IDR = (19, 20)
_SEQUENCE = 33  # the NAL unit type of a sequence parameter set
_LONGEST = 512  # bytes of a parameter set that are read; the size is within the first 100


def sizes(configuration: bytes, data: bytes) -> list[Size]:
    """The sizes of all sequences in an hvcC property and in its item.

    Raises ValueError or TooCostly.
    """
    if len(configuration) < 23 or configuration[21] & 3 != 3:
        raise ValueError("a damaged configuration")
    declared, pictures = [], 0
    for number, unit in enumerate((*_configured(configuration), *_units(data))):
        kind, layer = unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
        if number == MOST_UNITS or layer:
            raise TooCostly("An image in the HEIC has layers, or more parts than a photo has.")
        if kind == _SEQUENCE:
            declared.append(_size(unit))
        elif kind in _SLICES:
            pictures += unit[2] >> 7  # the first slice of an image
            if pictures > 1 or kind not in _IDR:
                raise TooCostly("An image in the HEIC is a video: only still images are accepted.")
    return declared


def _configured(configuration: bytes) -> Iterator[bytes]:
    """NAL units of an hvcC property (ISO/IEC 14496-15, 8.3.3.1)."""
    position = 23
    for _ in range(configuration[22]):
        count, position = int.from_bytes(configuration[position + 1 : position + 3], "big"), position + 3
        for _ in range(count):
            length = int.from_bytes(configuration[position : position + 2], "big")
            yield _whole(configuration, position + 2, length)
            position += 2 + length


def _units(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield _whole(data, position + 4, length)
        position += 4 + length


def _whole(data: bytes, start: int, length: int) -> bytes:
    if length < 3 or start + length > len(data):
        raise ValueError("a NAL unit is truncated")
    return data[start : start + min(length, _LONGEST)]


def _size(unit: bytes) -> Size:
    """The size of the coded image, from a sequence parameter set (7.3.2.2)."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + 96)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    bits.read(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.exp_golomb()
    if bits.exp_golomb() == 3:  # 4:4:4
        bits.read(1)
    return bits.exp_golomb(), bits.exp_golomb()
