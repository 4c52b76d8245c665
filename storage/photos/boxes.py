"""Parse the boxes of a HEIF or AVIF file (ISO/IEC 14496-12 and 23008-12): items and their bytes.

Every function raises ValueError for damaged boxes, and for more boxes than a photo has.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_BOXES = 5000  # within one box
MOST_ITEMS = 1000  # libheif's limit; cameras write 50 to 200
TOP = frozenset([b"ftyp", b"meta", b"mdat", b"free"])
META = frozenset([b"hdlr", b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat"])
METADATA = (b"Exif", b"mime", b"uri ")  # kinds of items; Pillow would copy everything that an EXIF directory points at
STILL = {
    b"avis": b"avif",
    b"hevc": b"heic",
    b"hevx": b"heic",
    b"msf1": b"mif1",
}  # video brand → brand of the file's first image
PROPERTIES = frozenset([
    b"ispe", b"hvcC", b"av1C", b"colr", b"pixi", b"irot", b"imir", b"clap", b"auxC", b"pasp", b"lsel", b"a1op", b"a1lx",
    b"clli", b"mdcv",
])  # fmt: skip


class Box(NamedTuple):
    """Offsets in the file. `at`: the box; `start` and `end`: its body."""

    kind: bytes
    at: int
    start: int
    end: int


@dataclass
class Item:
    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)  # start and end within the file
    properties: list[Box] = field(default_factory=list)


@dataclass
class Container:
    """`references`: (kind, source item, target items).

    `changes`: offset → four bytes to write there, which hide boxes from a decoder.
    """

    content: bytes
    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    changes: dict[int, bytes] = field(default_factory=dict)

    def data(self, item: Item) -> bytes:
        return b"".join(self.content[start:end] for start, end in item.extents)


class Fields:
    """Reads consecutive big-endian numbers."""

    def __init__(self, content: bytes, start: int, end: int) -> None:
        self._content, self._position, self._end = content, start, end

    def take(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "big")

    def bytes(self, size: int) -> bytes:
        if self._position + size > self._end:
            raise ValueError("a box ends within a field")
        self._position += size
        return self._content[self._position - size : self._position]

    @property
    def position(self) -> int:
        return self._position


def boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    for _ in range(MOST_BOXES):
        if end - start < 8:
            return
        size, body = int.from_bytes(content[start : start + 4], "big"), start + 8
        if size == 1:
            size, body = int.from_bytes(content[start + 8 : start + 16], "big"), start + 16
        stop = start + size if size else end
        if stop < body or stop > end:
            raise ValueError("a box is truncated")
        yield Box(content[start + 4 : start + 8], start, body, stop)
        start = stop
    raise ValueError("more boxes than a photo has")


def read(content: bytes) -> Container:
    found = Container(content)
    top = list(boxes(content, 0, len(content)))
    found.changes |= {box.at + 4: b"free" for box in top if box.kind not in TOP}
    found.changes |= {at: STILL[content[at : at + 4]] for at in _brands(top) if content[at : at + 4] in STILL}
    [meta] = [box for box in top if box.kind == b"meta"]
    inner = list(boxes(content, meta.start + 4, meta.end))
    found.changes |= {box.at + 4: b"free" for box in inner if box.kind not in META}
    parts = {box.kind: (box.start, box.end) for box in inner if box.kind in META}
    if len(parts) != sum(box.kind in META for box in inner):
        raise ValueError("a box of the meta box is repeated")
    version, fields = _full(content, parts[b"pitm"])
    found.primary = fields.take(2 if version == 0 else 4)
    _items(found, parts[b"iinf"])
    _locations(found, parts[b"iloc"], parts.get(b"idat", (0, 0)))
    _properties(found, parts[b"iprp"])
    if b"iref" in parts:
        _references(found, parts[b"iref"])
    return found


def _brands(top: list[Box]) -> range:
    """Offsets of the brands in the ftyp box; the minor version counts as one."""
    if top[0].kind != b"ftyp":
        raise ValueError("the file type is missing")
    return range(top[0].start, top[0].end - 3, 4)


def _full(content: bytes, place: tuple[int, int]) -> tuple[int, Fields]:
    """The version of a full box, and its fields after version and flags."""
    fields = Fields(content, *place)
    version = fields.take(1)
    fields.take(3)
    return version, fields


def _items(found: Container, place: tuple[int, int]) -> None:
    version, fields = _full(found.content, place)
    fields.take(2 if version == 0 else 4)
    for box in boxes(found.content, fields.position, place[1]):
        if box.kind != b"infe":
            raise ValueError("not an item")
        version, entry = _full(found.content, (box.start, box.end))
        number = entry.take(4 if version == 3 else 2)
        entry.take(2)
        if version not in (2, 3) or number in found.items or len(found.items) == MOST_ITEMS:
            raise ValueError("an item of an unknown version, a repeated one, or too many")
        found.items[number] = Item(entry.bytes(4))
        if found.items[number].kind in METADATA:
            found.changes[entry.position - 4] = b"free"


def _locations(found: Container, place: tuple[int, int], idat: tuple[int, int]) -> None:
    version, fields = _full(found.content, place)
    sizes = fields.take(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    seen = set()
    for _ in range(fields.take(2 if version < 2 else 4)):
        number = fields.take(2 if version < 2 else 4)
        method = fields.take(2) & 15 if version else 0
        reference, base = fields.take(2), fields.take(base_size)
        if number not in found.items or number in seen or method > 1 or reference:
            raise ValueError("an unknown item, or one outside of this file")
        seen.add(number)
        first, last = (0, len(found.content)) if method == 0 else idat
        for _ in range(fields.take(2)):
            fields.take(index_size)
            start = first + base + fields.take(offset_size)
            end = start + fields.take(length_size)
            if not start < end <= last:
                raise ValueError("an item extends beyond the file")
            found.items[number].extents.append((start, end))


def _properties(found: Container, place: tuple[int, int]) -> None:
    parts = list(boxes(found.content, *place))
    if [box.kind for box in parts] != [b"ipco", b"ipma"]:
        raise ValueError("expected one list of properties and one list of associations")
    known = list(boxes(found.content, parts[0].start, parts[0].end))
    found.changes |= {box.at + 4: b"free" for box in known if box.kind not in PROPERTIES}
    version, fields = _full(found.content, (parts[1].start, parts[1].end))
    wide = found.content[parts[1].start + 3] & 1
    for _ in range(fields.take(4)):
        item = found.items[fields.take(2 if version == 0 else 4)]
        for _ in range(fields.take(1)):
            index = fields.take(2) & 0x7FFF if wide else fields.take(1) & 0x7F
            if index:
                item.properties.append(known[index - 1])


def _references(found: Container, place: tuple[int, int]) -> None:
    version, fields = _full(found.content, place)
    size = 2 if version == 0 else 4
    for box in boxes(found.content, fields.position, place[1]):
        entry = Fields(found.content, box.start, box.end)
        source = entry.take(size)
        found.references.append((box.kind, source, [entry.take(size) for _ in range(entry.take(2))]))
