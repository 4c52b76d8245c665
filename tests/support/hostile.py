"""Hostile images, generated in each run: intact ones of every kind, damaged copies, and bombs."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import heif
import hostile_formats
import pictures
import profiles
from PIL import Image

MOST = 10 * 1024 * 1024 - 4096  # bytes, just below the size limit
SEED = 20240601
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def png(width: int, height: int, *chunks: bytes, bits: int = 8, color: int = 2) -> bytes:
    """A PNG that declares this size; it has only the chunks that the caller gives."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return PNG_START + head + b"".join(chunks) + chunk(b"IEND", b"")


def interlaced(size: int = 8) -> bytes:
    """A grey square with Adam7 interlacing, which Pillow cannot write."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(b"\0" + bytes(range(len(range(x, size, dx)))) for x, y, dx, dy in steps for _ in range(y, size, dy))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 1))
    return PNG_START + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def lossless_jpeg(width: int, height: int) -> bytes:
    """A grey lossless JPEG (process 14; ITU-T T.81, annex H), which Pillow cannot write.

    Every sample equals its prediction.
    """
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    table = b"\0" + bytes([1, *[0] * 15]) + b"\0"  # one code of one bit: the difference 0
    scan = bytes([1, 1, 0, 1, 0, 0]) + bytes(-(-width * height // 8))
    return JPEG_START + segment(0xC3, frame) + segment(0xC4, table) + segment(0xDA, scan[:6]) + scan[6:] + b"\xff\xd9"


@cache
def originals() -> dict[str, bytes]:
    """Intact images of every accepted kind."""
    photo, save = pictures.photo(61, 43), pictures.encoded
    frames = {"save_all": True, "append_images": [pictures.photo(61, 43, 1)]}
    made = {
        "jpeg": save(photo),
        "jpeg progressive": save(photo, progressive=True),
        "jpeg CMYK": save(photo.convert("CMYK")),
        "jpeg grey": save(photo.convert("L")),
        "jpeg with ICC and comment": save(photo, icc_profile=b"icc" * 30_000, comment=b"hello"),
        "jpeg in Display P3": save(photo, icc_profile=profiles.display_p3()),
        "jpeg without its end marker": save(photo)[:-2],
        "jpeg lossless": lossless_jpeg(61, 43),
        "MPO": save(photo, "MPO", **frames),
        "png": save(photo, "PNG"),
        "png 16 bits": save(Image.new("I;16", (61, 43), 40_000), "PNG"),
        "png 1 bit": save(photo.convert("1"), "PNG"),
        "png 1 bit transparent": save(photo.convert("1"), "PNG", transparency=0),
        "png palette": save(photo.quantize(200), "PNG", transparency=bytes(range(200))),
        "png RGBA": save(photo.convert("RGBA"), "PNG"),
        "png grey and alpha": save(photo.convert("LA"), "PNG"),
        "png interlaced": interlaced(),
        "png in Display P3": save(photo, "PNG", icc_profile=profiles.display_p3()),
        "APNG": save(photo, "PNG", **frames),
        "webp": save(photo, "WEBP"),
        "webp lossless": save(photo.convert("RGBA"), "WEBP", lossless=True),
        "webp in Display P3": save(photo.convert("RGBA"), "WEBP", icc_profile=profiles.display_p3()),
        "webp animated": save(photo, "WEBP", **frames),
    }
    for kind in ("HEIF", "AVIF", "GIF", "TIFF"):
        fresh, second = (
            pictures.photo(61, 43),
            pictures.photo(61, 43, 1),
        )  # saving a JPEG leaves its options in the image
        made[kind], made[f"{kind}, two"] = save(fresh, kind), save(fresh, kind, save_all=True, append_images=[second])
        made[f"{kind}, transparent"] = save(photo.convert("RGBA"), kind)
    made["BMP"], made["BMP palette"] = save(photo, "BMP"), save(photo.quantize(9), "BMP")
    made["HEIF, tiles"] = save(pictures.photo(100, 80), "HEIF", tile_size=64)
    made["BMP, run lengths"] = hostile_formats.run_lengths(61, 43)
    made["BigTIFF"] = hostile_formats.big_tiff(save(pictures.photo(61, 43), "TIFF"))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made[f"TIFF {compression}"] = save(pictures.photo(61, 43), "TIFF", compression=compression)
    for tag in range(1, 9):
        for kind in ("JPEG", "PNG", "WEBP"):
            made[f"{kind} orientation {tag}"] = pictures.with_orientation(pictures.photo(31, 17), tag, kind=kind)
    for width, height in ((1, 1), (1, 300), (10_000, 1), (1, 10_000)):
        for kind in ("JPEG", "PNG", "WEBP"):
            made[f"{kind} {width}x{height}"] = save(pictures.photo(width, height), kind)
    return made


def mutations(count: int, seed: int = SEED) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged images, by name; the originals take turns. The same in every run."""
    rng = random.Random(seed)
    names = list(originals())
    for number in range(count):
        name = names[number % len(names)]
        change = CHANGES[number // len(names) % len(CHANGES)]
        yield f"{number}: {name}, {change.__name__}", change(originals()[name], rng)


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 30))):
        # Most damage goes into the headers, because parsers fail there.
        changed[rng.randrange(min(len(changed), rng.choice((64, 400, 10**6))))] = rng.choice(
            (0, 255, rng.randrange(256))
        )
    return bytes(changed)


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def spliced(content: bytes, rng: random.Random) -> bytes:
    other = originals()[rng.choice(list(originals()))]
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 12, 500)))
    return content[:end] + content[start:end] * rng.choice((1, 50)) + content[end:]


def with_a_stranger(content: bytes, rng: random.Random) -> bytes:
    """Insert a chunk or segment of random kind and content after the header."""
    body = rng.randbytes(rng.choice((0, 4, 26, 300)))
    if content.startswith(PNG_START):
        kind = rng.choice([b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"iCCP", b"zTXt", b"abCD"])
        return content[:33] + chunk(kind, body) + content[33:]
    if content.startswith(JPEG_START):
        body = rng.choice((b"", b"Exif\0\0", b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0" + b"8BIM")) + body
        return content[:2] + segment(rng.choice((*range(0xC0, 0xD0), *range(0xDB, 0xFF))), body) + content[2:]
    size = 4 * rng.randrange(200)
    return content[:12] + rng.choice((b"EXIF", b"ANMF", b"ALPH")) + struct.pack("<I", size) + body + content[12:]


def lying(content: bytes, rng: random.Random) -> bytes:
    """Write another size into the header, with a correct checksum."""
    width, height = rng.choice(((1, 1), (62, 43), (5000, 5000), (10_000, 2500), (0, 5), (65_535, 65_535)))
    if content.startswith(PNG_START):
        head = struct.pack(">II", width, height) + content[24:29]
        return PNG_START + chunk(b"IHDR", head) + content[33:]
    if content.startswith(JPEG_START):
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]
    if content[12:16] == b"VP8X":
        return content[:24] + struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3] + content[30:]
    return content[:26] + struct.pack("<HH", width & 0x3FFF, height & 0x3FFF) + content[30:]


CHANGES = (flipped, truncated, spliced, repeated, with_a_stranger, lying)


def exif(entries: int, size: int, order: str = ">") -> bytes:
    """An EXIF block: each entry claims `size` bytes, and the directory links to itself."""
    rows = b"".join(struct.pack(f"{order}HHII", 200 + i, 1, size, 0) for i in range(entries))
    start = b"MM\0*" if order == ">" else b"II*\0"
    return start + struct.pack(f"{order}IH", 8, entries) + rows + struct.pack(f"{order}I", 8)


@cache
def bombs() -> dict[str, bytes]:
    """Small files that expand enormously, and large files of very many small parts."""
    jpeg, plain = originals()["jpeg"], originals()["png"]
    empty = [zlib.compress(b"\0" * n, 9) for n in (10**6, 60 * 10**6, 200 * 10**6)]
    return {
        "30000 x 30000": png(30_000, 30_000, chunk(b"IDAT", empty[1]), bits=1, color=0),
        "more pixels than declared": png(10, 10, chunk(b"IDAT", empty[2])),
        "fewer pixels than declared": png(5000, 5000, chunk(b"IDAT", empty[0])),
        "zTXt": png(10, 10, chunk(b"zTXt", b"k\0\0" + empty[2]), chunk(b"IDAT", empty[0])),
        "iTXt": png(10, 10, chunk(b"iTXt", b"k\0\1\0\0\0" + empty[2]), chunk(b"IDAT", empty[0])),
        "many zTXt": png(10, 10, *[chunk(b"zTXt", b"k\0\0" + empty[0])] * 300, chunk(b"IDAT", empty[0])),
        "iCCP": png(10, 10, chunk(b"iCCP", b"k\0\0" + empty[2]), chunk(b"IDAT", empty[0])),
        "tEXt of 9 MB": png(10, 10, chunk(b"tEXt", b"k\0" + b"x" * 9_000_000), chunk(b"IDAT", empty[0])),
        "empty chunks": plain[:33] + chunk(b"abCd", b"") * (MOST // 12) + plain[33:],
        "empty IDAT": plain[:33] + chunk(b"IDAT", b"") * (MOST // 12) + plain[33:],
        "empty chunks behind": plain[:-12] + chunk(b"abCd", b"") * (MOST // 12) + plain[-12:],
        "empty segments": jpeg[:2] + segment(0xE5, b"") * (MOST // 4) + jpeg[2:],
        "empty comments": jpeg[:2] + segment(0xFE, b"") * (MOST // 4) + jpeg[2:],
        "many EXIF": jpeg[:2] + segment(0xE1, b"Exif\0\0" + b"x" * 1000) * (MOST // 1010) + jpeg[2:],
        "padding": jpeg[:2] + b"\xff" * MOST + jpeg[2:],
        "stuffing": jpeg[:2] + b"\xff\0" * (MOST // 2) + jpeg[2:],
        "no end": jpeg[:-2] + b"\xff\xd0" * (MOST // 2),
        **{f"ICC, {name}": pictures.encoded(pictures.photo(), icc_profile=made) for name, made in profiles.hostile()},
        "ICC in 60 parts": jpeg[:2] + segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000)) * 60 + jpeg[2:],
        "many scans": many_scans(),
        **hostile_formats.bombs(),
        "arithmetic coding": arithmetic(),
        "huge canvas": small_frame((5000, 5000)),
        "WebP canvas of 16 million a side": small_frame((2**24, 2**24)),
        "EXIF, large entries, PNG": plain[:33]
        + chunk(b"eXIf", exif(60_000, 5_000_000) + bytes(5_000_000))
        + plain[33:],
        "EXIF, large entries, JPEG": jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif(5000, 60_000)) + jpeg[2:],
        "EXIF, endless counts": jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif(300, 2**32 - 1, "<")) + jpeg[2:],
    }


def many_scans(scans: int | None = None, side: int = 5000) -> bytes:
    """A progressive JPEG that repeats an empty AC scan: `scans` in all."""
    whole = pictures.encoded(Image.new("L", (side, side), 100), progressive=True)
    second = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    end = whole.index(b"\xff\xc4", second)
    scan = whole[second:end]
    more = (MOST - len(whole)) // len(scan) if scans is None else scans - whole.count(b"\xff\xda")
    return whole[:end] + scan * more + whole[end:]


def arithmetic(marker: int = 0xCA) -> bytes:
    """A JPEG whose frame header declares arithmetic coding (SOF10: progressive)."""
    return originals()["jpeg progressive"].replace(b"\xff\xc2", bytes([0xFF, marker]), 1)


def small_frame(canvas: tuple[int, int], frame: tuple[int, int] = (8, 8)) -> bytes:
    """A small animated WebP whose first frame covers only a corner of its canvas."""
    more = {"save_all": True, "append_images": [pictures.photo(*frame, seed=1)], "lossless": True}
    whole = pictures.encoded(pictures.photo(*frame), "WEBP", **more)
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in canvas)
    return whole[:24] + sides + whole[30:]


def _turned() -> Image.Exif:
    turned = Image.Exif()
    turned[pictures.ORIENTATION] = 6
    return turned


def _large(mode: str, kind: str = "JPEG", **how: object) -> Callable[[], bytes]:
    """Return a maker of 5000 x 5000 pixels, exactly the limit; rotated by EXIF if the kind has EXIF."""
    return lambda: pictures.encoded(Image.new(mode, (5000, 5000)), kind, exif=_turned().tobytes(), **how)


def _tiles(kind: str, brand: bytes, filler: bytes) -> bytes:
    # Each tile ends with a different filler: a tile used a hundred times would be refused.
    grid = heif.Part(b"grid", heif.grid(10, 10, 5000, 5000), (heif.ispe(5000, 5000),))
    tile = heif.coded(kind, 512, 512)
    tiles = [tile._replace(data=tile.data + filler + bytes([1, 1, n])) for n in range(100)]
    return heif.container([grid, *tiles], [(b"dimg", 1, range(2, 102))], brand)


_JPEG: dict[str, object] = {"progressive": True, "subsampling": 0}
_HEIF: dict[str, object] = {"chroma": 444, "enc_params": {"preset": "ultrafast"}}
_TIFF: dict[str, object] = {"compression": "tiff_adobe_deflate", "strip_size": 10**9}
LARGEST: dict[str, Callable[[], bytes]] = {
    **{f"png {mode}": _large(mode, "PNG", compress_level=1) for mode in ("1", "L", "LA", "RGB", "RGBA", "I;16")},
    "png in Display P3": _large("RGBA", "PNG", compress_level=1, icc_profile=profiles.display_p3()),
    "png palette": _large("P", "PNG", transparency=0),
    **{f"jpeg {mode}": _large(mode, **_JPEG) for mode in ("L", "RGB", "CMYK")},
    "webp": _large("RGB", "WEBP", method=0),
    "webp lossless": _large("RGBA", "WEBP", lossless=True, method=0),
    "AVIF RGBA": _large("RGBA", "AVIF", speed=10),
    "HEIF RGBA": _large("RGBA", "HEIF", **_HEIF),
    "HEIF, tiles": lambda: _tiles("HEIF", heif.HEIC, b"\0\0\0\5\x4c\1"),
    "AVIF, tiles": lambda: _tiles("AVIF", heif.AVIF, b"\x7a\3"),
    "TIFF RGBA": _large("RGBA", "TIFF", **_TIFF),
    "TIFF 16 bits": _large("I;16", "TIFF", **_TIFF),
    "TIFF CMYK": _large("CMYK", "TIFF", **_TIFF),
    **{f"TIFF JPEG {mode}": _large(mode, "TIFF", compression="jpeg", strip_size=10**9) for mode in ("YCbCr", "CMYK")},
    "GIF": _large("P", "GIF"),
    "GIF, transparent": _large("P", "GIF", transparency=0),
    "BMP": _large("1", "BMP"),
    "BMP, run lengths": lambda: hostile_formats.run_lengths(2500, 4000),
}


@cache
def largest(name: str) -> bytes:
    """Make a photo of exactly the allowed number of pixels: the cost of a legitimate decode.

    Each photo is made on first use and cached.
    """
    return LARGEST[name]()
