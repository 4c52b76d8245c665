"""HEIC and AVIF files built box by box, so that a test can falsify each part."""

import struct
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import pictures

from storage.photos import boxes

HEIC, AVIF = b"heic", b"avif"


class Part(NamedTuple):
    """An item: its kind, its bytes and its properties."""

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...] = ()


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, version: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *content)


def ispe(width: int, height: int) -> bytes:
    return full(b"ispe", 0, struct.pack(">II", width, height))


def grid(rows: int, columns: int, width: int, height: int) -> bytes:
    return struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)


def container(
    parts: Sequence[Part], references: Sequence[tuple[bytes, int, Sequence[int]]] = (), brand: bytes = HEIC
) -> bytes:
    """Build a file. Items are numbered from 1; item 1 is the photo. Equal bytes are stored once."""
    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    stored = list(dict.fromkeys(part.data for part in parts))
    behind = len(head) + len(_meta(parts, references, dict.fromkeys(stored, 0))) + 8
    places = {}
    for data in stored:
        places[data], behind = behind, behind + len(data)
    return head + _meta(parts, references, places) + box(b"mdat", *stored)


def _meta(
    parts: Sequence[Part], references: Sequence[tuple[bytes, int, Sequence[int]]], places: dict[bytes, int]
) -> bytes:
    known = list(dict.fromkeys(one for part in parts for one in part.properties))
    owners = b"".join(
        struct.pack(">HB", number, len(part.properties)) + bytes(1 + known.index(one) for one in part.properties)
        for number, part in enumerate(parts, 1)
    )
    where = b"".join(
        struct.pack(">HHHII", number, 0, 1, places[part.data], len(part.data)) for number, part in enumerate(parts, 1)
    )
    infos = [full(b"infe", 2, struct.pack(">HH", number, 0), part.kind, b"\0") for number, part in enumerate(parts, 1)]
    return full(
        b"meta",
        0,
        full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
        full(b"pitm", 0, b"\0\1"),
        full(b"iloc", 0, b"\x44\0", struct.pack(">H", len(parts)), where),
        full(b"iinf", 0, struct.pack(">H", len(parts)), *infos),
        box(b"iprp", box(b"ipco", *known), full(b"ipma", 0, struct.pack(">I", len(parts)), owners)),
        full(
            b"iref", 0, *[box(k, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for k, source, to in references]
        ),
    )


@cache
def coded(kind: str, width: int = 64, height: int = 64) -> Part:
    """The item of an ordinary file of this format."""
    content = pictures.encoded(pictures.photo(width, height), kind)
    read = boxes.read(content)
    item = read.items[read.primary]
    return Part(item.kind, read.data(item), tuple(content[one.at : one.end] for one in item.properties))


def replaced(part: Part, kind: bytes, content: bytes) -> Part:
    """Return the item with its property of this kind replaced."""
    return part._replace(properties=tuple(content if one[4:8] == kind else one for one in part.properties))


def sps(configuration: bytes) -> bytes:
    """The sequence parameter set in an hvcC property."""
    position = 8 + 23
    while configuration[position] & 63 != 33:
        position += 5 + int.from_bytes(configuration[position + 3 : position + 5], "big")
    length = int.from_bytes(configuration[position + 3 : position + 5], "big")
    return configuration[position + 5 : position + 5 + length]


def hevc_of_size(width: int, height: int, within: bool = False) -> Part:
    """A HEIC picture of 64 x 64 pixels whose sequence parameter set declares another size.

    `within`: the false set is a second one, among the slices.
    """
    part = coded("HEIF")
    [hvcc] = [one for one in part.properties if one[4:8] == b"hvcC"]
    old = sps(hvcc)
    plain = old.replace(bytes([0, 0, 3]), bytes(2))
    bits = f"{int.from_bytes(plain, 'big'):0{8 * len(plain)}b}"
    start = 16 + 104 + 1 + 3  # x265: no layers, number 0, 4:2:0
    assert bits[start - 4 : start] == "1010"
    size = _exp_golomb(64) * 2
    assert bits[start : start + len(size)] == size
    bits = bits[:start] + _exp_golomb(width) + _exp_golomb(height) + bits[start + len(size) :]
    new = _escaped(int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"))
    if within:
        return part._replace(data=struct.pack(">I", len(new)) + new + part.data)
    body = hvcc[8:].replace(struct.pack(">H", len(old)) + old, struct.pack(">H", len(new)) + new)
    return replaced(part, b"hvcC", box(b"hvcC", body))


def av1_of_size(width: int, height: int) -> Part:
    """An AVIF picture of 64 x 64 pixels whose sequence header declares another size."""
    part = coded("AVIF")
    at = 2 if part.data[0] >> 3 == 2 else 0  # behind a temporal delimiter
    assert part.data[at] >> 3 & 15 == 1
    length = part.data[at + 1]
    header = f"{int.from_bytes(part.data[at + 2 : at + 2 + length], 'big'):0{8 * length}b}"
    assert header[3:5] == "11"  # reduced
    used = 10 + 8 + int(header[10:14], 2) + 1 + int(header[14:18], 2) + 1
    bits = header[:10] + "1111" * 2 + f"{width - 1:016b}{height - 1:016b}" + header[used:]
    new = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return part._replace(data=part.data[:at] + bytes([0x0A, len(new)]) + new + part.data[at + 2 + length :])


def _exp_golomb(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _escaped(unit: bytes) -> bytes:
    """Return the unit with emulation prevention bytes (ITU-T H.265, 7.4.1)."""
    out = bytearray()
    for byte in unit:
        if out[-2:] == b"\0\0" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)
