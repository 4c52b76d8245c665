"""HEIF (ISO/IEC 23008-12): refuse files that are too costly to decode, and strip the others.

A container may declare a small photo around coded images of any size, nest them, or use one many
times. So this module checks every coded image that a decoder would process, and accepts only what
cameras and editors write: one coded image or one grid of them, with at most a coded alpha channel.
"""

from collections import Counter
from collections.abc import Callable

from storage.photos import av1, boxes, hevc
from storage.photos.boxes import Container, Fields, Item
from storage.photos.containers import Bare, Limits, Size, TooCostly, with_edge

HEIC_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
BLOCK = 64  # pixels by which a coded image may exceed its visible part
MOST_PARTS = 3  # all coded images may have this many times the photo's pixels: image, alpha and depth
MOST_REPEATS = 2  # all decoded data may be this many times as long as the file

Measure = Callable[[bytes, bytes], list[Size]]


def brands(content: bytes) -> frozenset[bytes]:
    """The brands in the file's first box; empty if it is not an ftyp box."""
    if content[4:8] != b"ftyp":
        return frozenset()
    names = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return frozenset(names[at : at + 4] for at in range(0, len(names), 4) if at != 4)


def bare_heic(content: bytes, limits: Limits) -> Bare:
    """The HEIC with videos and unneeded boxes hidden. Raises ValueError or TooCostly."""
    return _bare(content, b"hvc1", b"hvcC", hevc.sizes, limits)


def bare_avif(content: bytes, limits: Limits) -> Bare:
    """The same for AVIF."""
    return _bare(content, b"av01", b"av1C", av1.sizes, limits)


def _bare(content: bytes, coding: bytes, configuration: bytes, measure: Measure, limits: Limits) -> Bare:
    try:
        container = boxes.read(content)
        decoded = _decoded(container, coding, limits)
    except (KeyError, IndexError) as error:
        raise ValueError("a box or an item is missing") from error
    photo = _declared(container, container.items[container.primary])
    limits.check(photo)
    pixels = length = 0
    for number, times in decoded.items():
        item = container.items[number]
        width, height = _coded(container, item, configuration, measure, limits)
        pixels += times * width * height
        length += times * sum(end - start for start, end in item.extents)
    if pixels > MOST_PARTS * with_edge(photo) or length > MOST_REPEATS * len(content):
        raise TooCostly("The file holds images that are far larger than the photo.")
    return Bare(_changed(content, container.changes))


def _decoded(container: Container, coding: bytes, limits: Limits) -> Counter[int]:
    """The coded items that a decoder needs for the photo, and how often it decodes each."""
    needed = [container.primary]
    needed += [source for kind, source, targets in container.references if kind == b"auxl" and needed[0] in targets]
    coded: Counter[int] = Counter()
    for number in needed:
        item = container.items[number]
        parts = _tiles(container, number, limits) if item.kind == b"grid" else [number]
        coded.update(parts)
    auxiliary = [source for kind, source, targets in container.references if kind == b"auxl" and {*targets} & {*coded}]
    coded.update(set(auxiliary) - set(needed))  # alpha of single tiles
    if any(container.items[number].kind != coding for number in coded):
        raise TooCostly("The photo is composed of images in a way that is not supported.")
    return coded


def _tiles(container: Container, number: int, limits: Limits) -> list[int]:
    data = container.data(container.items[number])
    [tiles] = [targets for kind, source, targets in container.references if (kind, source) == (b"dimg", number)]
    size = 4 if data[1] & 1 else 2
    if len(data) != 4 + 2 * size or len(tiles) != (data[2] + 1) * (data[3] + 1):
        raise ValueError("a damaged grid")
    limits.check((int.from_bytes(data[4 : 4 + size], "big"), int.from_bytes(data[4 + size :], "big")))
    return tiles


def _declared(container: Container, item: Item) -> Size:
    """The size that the container declares for the item."""
    [box] = [box for box in item.properties if box.kind == b"ispe"]
    fields = Fields(container.content, box.start + 4, box.end)
    return fields.take(4), fields.take(4)


def _coded(container: Container, item: Item, configuration: bytes, measure: Measure, limits: Limits) -> Size:
    """The largest width and height that the item's coded images declare."""
    [box] = [box for box in item.properties if box.kind == configuration]
    declared = measure(container.content[box.start : box.end], container.data(item))
    if not declared:
        raise ValueError("an image without a size")
    for width, height in declared:
        limits.check((max(1, width - BLOCK), max(1, height - BLOCK)))
    return max(width for width, _ in declared), max(height for _, height in declared)


def _changed(content: bytes, changes: dict[int, bytes]) -> bytes:
    """Overwrite in place: items are addressed by their offsets, so nothing may move."""
    if not changes:
        return content
    changed = bytearray(content)
    for at, name in changes.items():
        changed[at : at + 4] = name
    return bytes(changed)
