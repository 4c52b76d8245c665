"""Hostile HEIC, AVIF, GIF, BMP and TIFF files."""

import struct
import zlib
from collections.abc import Callable

import heif
import pictures
from heif import Part, container, ispe
from PIL import Image

MOST = 10 * 1024 * 1024 - 4096  # bytes, just below the size limit
HUGE = 65_528


def bombs() -> dict[str, bytes]:
    return {**_heic(), **_avif(), **_gif(), **_bmp(), **_tiff()}


def exif_bomb() -> bytes:
    rows = b"".join(struct.pack(">HHII", 200 + i, 1, 5_000_000, 0) for i in range(60_000))
    return b"\0\0\0\6Exif\0\0MM\0*" + struct.pack(">IH", 8, 60_000) + rows + bytes(4 + 5_000_000)


def _heic() -> dict[str, bytes]:
    tile, large = heif.coded("HEIF"), heif.hevc_of_size(4000, 4000)
    repeated = tile.data * 1000
    many = Part(b"grid", heif.grid(255, 255, 5000, 5000), (ispe(5000, 5000),))
    own = Part(b"grid", heif.grid(1, 1, 64, 64), (ispe(64, 64),))
    return {
        "HEIC, sequence of 65528": container([heif.hevc_of_size(HUGE, HUGE)]),
        "HEIC, sequence of 5000 in a small photo": container([heif.hevc_of_size(5000, 5000)]),
        "HEIC, sequence of 65528 among the slices": container([heif.hevc_of_size(HUGE, HUGE, within=True)]),
        "HEIC, ispe of 65528": container([heif.replaced(tile, b"ispe", ispe(HUGE, HUGE))]),
        "HEIC, ispe of 5000": container([heif.replaced(tile, b"ispe", ispe(5000, 5000))]),
        "HEIC, grid of one large tile": container([many, large], [(b"dimg", 1, [2] * 255 * 255)]),
        "HEIC, grid of a huge picture": container(
            [Part(b"grid", heif.grid(1, 1, HUGE, HUGE), (ispe(HUGE, HUGE),)), tile], [(b"dimg", 1, [2])]
        ),
        "HEIC, grid of itself": container([own], [(b"dimg", 1, [1])]),
        "HEIC, grid of grids": container([own, own, tile], [(b"dimg", 1, [2]), (b"dimg", 2, [3])]),
        "HEIC, overlay": container(
            [Part(b"iovl", bytes(10) + struct.pack(">HH", 64, 64) + bytes(4000), (ispe(64, 64),)), tile],
            [(b"dimg", 1, [2] * 1000)],
        ),
        "HEIC, film": container([tile._replace(data=repeated)]),
        "HEIC, film of later frames": container([tile._replace(data=_later(tile.data) * 1000)]),
        "HEIC, long tile": container(
            [Part(b"grid", heif.grid(30, 30, 1920, 1920), (ispe(1920, 1920),)), _padded(tile)],
            [(b"dimg", 1, [2] * 900)],
        ),
        "HEIC, alpha of 65528": container([tile, heif.hevc_of_size(HUGE, HUGE)], [(b"auxl", 2, [1])]),
        "HEIC, empty boxes": container([tile]) + heif.box(b"free") * ((MOST - 10_000) // 8),
        "HEIC, nested boxes": container([tile]) + _nested(b"meta", 100_000),
        "HEIC, nested properties": container([tile._replace(properties=(*tile.properties, _nested(b"ipco", 100_000)))]),
        "HEIC, EXIF": container([tile, Part(b"Exif", exif_bomb())], [(b"cdsc", 2, [1])]),
        "HEIC, 900 items": container([tile] * 900),
        "HEIC, 40000 items": container([tile] * 40_000),
    }


def _later(data: bytes) -> bytes:
    """Turn a slice into one of a picture that depends on other pictures."""
    return data[:4] + bytes([1 << 1]) + data[5:]


def _padded(tile: Part) -> Part:
    """Return the tile with a megabyte of supplemental information before the slice."""
    return tile._replace(data=struct.pack(">I", 10**6) + b"\x4e\1" + bytes(10**6 - 2) + tile.data)


def _nested(kind: bytes, depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - level)) + kind for level in range(depth))


def _avif() -> dict[str, bytes]:
    tile = heif.coded("AVIF")
    frames = tile.data[2 + tile.data[1] :] if tile.data[0] == 0x0A else tile.data
    made: Callable[..., bytes] = lambda *parts, **more: container(parts, brand=heif.AVIF, **more)  # noqa: E731
    return {
        "AVIF, sequence of 65536": made(heif.av1_of_size(65_536, 65_536)),
        "AVIF, sequence of 5000 in a small photo": made(heif.av1_of_size(5000, 5000)),
        "AVIF, sequence of 16000": made(heif.av1_of_size(16_000, 16_000)),
        "AVIF, sequence and ispe of 16000": made(
            heif.replaced(heif.av1_of_size(16_000, 16_000), b"ispe", ispe(64, 64))
        ),
        "AVIF, ispe of 5000": made(heif.replaced(tile, b"ispe", ispe(5000, 5000))),
        "AVIF, film": made(tile._replace(data=tile.data + frames * 3000)),
        "AVIF, alpha of 65536": made(tile, heif.av1_of_size(65_536, 65_536), references=[(b"auxl", 2, [1])]),
        "AVIF, EXIF": made(tile, Part(b"Exif", exif_bomb()), references=[(b"cdsc", 2, [1])]),
        "AVIF, empty boxes": made(tile) + heif.box(b"free") * ((MOST - 10_000) // 8),
        "AVIF, 3 layers of tiles": made(
            Part(b"grid", heif.grid(100, 100, 6400, 3900), (ispe(6400, 3900),)),
            heif.av1_of_size(4000, 4000),
            references=[(b"dimg", 1, [2] * 10_000)],
        ),
    }


def gif(canvas: tuple[int, int], frame: tuple[int, int], *before: bytes, data: bytes = b"\2\x4c\1\0") -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    return head + b"".join(before) + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2" + data + b"\0;"


def _gif() -> dict[str, bytes]:
    whole = pictures.encoded(Image.new("P", (5000, 5000)), "GIF")
    frames = {"save_all": True, "append_images": [Image.new("L", (8, 8), n) for n in range(200)]}
    film = pictures.encoded(Image.new("L", (8, 8), 255), "GIF", **frames)
    return {
        "GIF, canvas of 65535": gif((65_535, 65_535), (1, 1)),
        "GIF, canvas of 5000 around a dot": gif((5000, 5000), (1, 1)),
        "GIF, frame of 65535": gif((1, 1), (65_535, 65_535)),
        "GIF, frame without pixels": gif((5000, 5000), (5000, 5000)),
        "GIF, more pixels than declared": gif((8, 8), (8, 8), data=whole[whole.index(b",") + 11 : -2]),
        "GIF, blocks of one byte": gif((8, 8), (8, 8), data=b"\1\x4c" * (MOST // 2)),
        "GIF, comments": gif((8, 8), (8, 8), b"\x21\xfe" + (b"\xff" + b"x" * 255) * 40_000 + b"\0"),
        "GIF, empty extensions": gif((8, 8), (8, 8), b"\x21\xfe\0" * (MOST // 3)),
        "GIF, film on a huge canvas": film[:6] + struct.pack("<HH", 65_535, 65_535) + film[10:],
    }


def bmp(  # noqa: PLR0917
    width: int, height: int, compression: int = 0, bits: int = 24, colors: int = 0, pixels: bytes = b""
) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colors, 0)
    place = 54 + 4 * colors if compression else 54
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, place) + head + pixels


def run_lengths(width: int, height: int, bits: int = 8) -> bytes:
    """A BMP of stripes, which Pillow cannot write: runs of 255 pixels at most, and ends of lines."""
    whole, rest = divmod(width, 255)
    one, two = (1, 2) if bits == 8 else (0x11, 0x22)  # a byte holds two pixels of 4 bits
    row = bytes([255, one]) * whole + (bytes([rest, two]) if rest else b"") + b"\0\0"
    palette = b"".join(bytes([blue, 0, 255 - blue, 0]) for blue in range(2**bits))
    return bmp(width, height, 1 if bits == 8 else 2, bits, 2**bits, palette + row * height + b"\0\1")


def _bmp() -> dict[str, bytes]:
    return {
        "BMP, run lengths of 5000": run_lengths(5000, 5000),
        "BMP, ends of lines": bmp(2500, 4000, 1, 8, 256, bytes(1024) + b"\1\1\0\0" * 4000 + b"\0\1"),
        "BMP, runs of 4 bits": run_lengths(2500, 4000, 4),
        "BMP of 65535": bmp(65_535, 65_535),
        "BMP of a negative width": bmp(-5000, 5000),
        "BMP without pixels": bmp(5000, 5000),
        "BMP, run lengths": bmp(5000, 5000, 1, 8, 256, bytes(1024) + b"\1\0" * (MOST // 2 - 1000)),
        "BMP, many colours": bmp(10, 10, 0, 8, 2**32 - 1, bytes(2000)),
    }


def tiff(
    fields: dict[int, tuple[int, tuple[int, ...]]], behind: bytes = b"", entries: bytes = b"", order: str = "<"
) -> bytes:
    """A TIFF directory of these tags: type (3 short, 4 long) and values. `behind` is at byte 8."""
    place = 8 + len(behind)
    count = len(fields) + len(entries) // 12
    rows, long = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        rows += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) <= 4:
            rows += packed.ljust(4, b"\0")
        else:
            rows += struct.pack(f"{order}I", place + 2 + 12 * count + 4 + len(long))
            long += packed
    following = struct.pack(f"{order}I", place)  # the next directory is this one
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", place)
    return start + behind + struct.pack(f"{order}H", count) + rows + entries + following + long


def big_tiff(content: bytes) -> bytes:
    """The little-endian TIFF as BigTIFF: its header is 8 bytes longer, and offsets have 64 bits."""
    [start] = struct.unpack_from("<I", content, 4)
    [count] = struct.unpack_from("<H", content, start)
    body, rows = bytes(16) + content[8:], b""
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from("<HHI", content, at)
        size = values * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind]
        place = at + 8 if size <= 4 else struct.unpack_from("<I", content, at + 8)[0]
        data = content[place : place + size]
        if tag == 273:  # the offsets of strips
            offsets = struct.unpack(f"<{values}{'H' if kind == 3 else 'I'}", data)
            kind, data = 16, struct.pack(f"<{values}Q", *(offset + 8 for offset in offsets))
        rows += struct.pack("<HHQ", tag, kind, values)
        rows += data.ljust(8, b"\0") if len(data) <= 8 else struct.pack("<Q", len(body))
        body += data if len(data) > 8 else b""
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", len(body))
    return head + body[16:] + struct.pack("<Q", count) + rows + bytes(8)


def grey_tiff(width: int, height: int, compression: int, data: bytes, **more: object) -> bytes:
    fields = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (8,)), 259: (3, (compression,)), 262: (3, (1,)),
        273: (4, (8,)), 277: (3, (1,)), 278: (4, (height,)), 279: (4, (len(data),)),
    }  # fmt: skip
    return tiff({**fields, **{int(tag[1:]): value for tag, value in more.items()}}, data)  # type: ignore[dict-item]


def _tiff() -> dict[str, bytes]:
    deflated = zlib.compress(bytes(200 * 10**6), 9)
    dot = zlib.compress(b"\0" * 100)
    claims = b"".join(struct.pack("<HHII", 40_000 + n, 1, 9_000_000, 8) for n in range(10_000))
    one = grey_tiff(10, 10, 8, dot)
    stored = b"\0\0\0\xff\xff" * 1_900_000  # empty Deflate blocks before each row
    return {
        "TIFF of 65535": grey_tiff(65_535, 65_535, 8, dot),
        "TIFF without pixels": grey_tiff(5000, 5000, 8, dot),
        "TIFF, more pixels than declared": grey_tiff(10, 10, 8, deflated),
        "TIFF, LZW": grey_tiff(5000, 5000, 5, pictures.encoded(Image.new("L", (5000, 5000)), "TIFF")[8:50_000]),
        "TIFF, 10000 tags of 9 MB": tiff({256: (4, (10,))}, bytes(9_000_000), claims),
        "TIFF, directories without end": one[:8] + (one[8:] * 30_000)[: MOST - 8],
        "TIFF, one strip for every row": grey_tiff(
            1, 10_000, 8, b"\x78\x9c" + stored + zlib.compress(b"\0")[2:],
            t273=(4, (8,) * 10_000), t278=(4, (1,)), t279=(4, (9_500_012,) * 10_000),
        ),
        "TIFF, a huge tile": grey_tiff(10, 10, 8, dot,
            t322=(4, (65_536,)), t323=(4, (65_536,)), t324=(4, (8,)), t325=(4, (len(dot),)),
        ),
        "TIFF, a tile of 4992 in a small photo": grey_tiff(
            10, 10, 8, dot, t322=(4, (4992,)), t323=(4, (4992,)), t324=(4, (8,)), t325=(4, (len(dot),)),
        ),
        "TIFF, tiles larger than the photo": grey_tiff(
            10_000, 10, 8, dot, t322=(4, (16,)), t323=(4, (10_000,)), t324=(4, (8,) * 625), t325=(4, (len(dot),) * 625)
        ),
        "TIFF, no rows in a strip": grey_tiff(10, 10, 8, dot, t278=(4, (0,))),
        "TIFF, a million strips": grey_tiff(10, 10, 8, bytes(4_000_000), t273=(4, (8,) * 10**6)),
        "TIFF, 65535 samples": grey_tiff(10, 10, 8, dot, t277=(3, (65_535,)), t258=(3, (8,) * 4)),
        "TIFF, JPEG of other colours": grey_tiff(64, 48, 7, pictures.jpeg()),
        "TIFF, small JPEG": grey_tiff(5000, 5000, 7, pictures.encoded(pictures.photo().convert("L"))),
        "TIFF, large JPEG": grey_tiff(10, 10, 7, pictures.encoded(pictures.photo().convert("L"))),
        "TIFF, truncated JPEG": grey_tiff(64, 48, 7, pictures.encoded(pictures.photo().convert("L"))[:-2]),
        "TIFF, progressive JPEG": grey_tiff(64, 48, 7, pictures.encoded(pictures.photo(), progressive=True)),
        "TIFF, JPEG of many segments": grey_tiff(10, 10, 7, b"\xff\xd8" + b"\xff\xfe\0\2" * (MOST // 4)),
        "TIFF, fax": pictures.encoded(Image.new("1", (99, 99)), "TIFF", compression="group4"),
        "TIFF, old JPEG": grey_tiff(64, 48, 6, pictures.jpeg()),
        "BigTIFF, a directory at its end of time": b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(100),
        "BigTIFF, entries without end": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(MOST - 24),
        "TIFF, a profile of 4 GB": grey_tiff(10, 10, 8, dot, t34675=(4, (1,) * 9)),
    }  # fmt: skip
