"""PNG (third edition): strip a file to its first frame."""

import zlib
from collections.abc import Iterator

from storage.photos.containers import MOST_PROFILE, Bare, TooCostly

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 10_000  # a file of 10 MB has 1,300 of the usual 8 kB

_TRANSPARENCY = b"tRNS"  # the only ancillary chunk that changes pixels


def bare_png(content: bytes) -> Bare:
    """The first frame without its metadata. Raises TooCostly.

    As browsers do, drops damaged ancillary chunks and ignores what follows IEND. The decoder
    detects damage in critical chunks.
    """
    kept, exif, profile, pixels = [PNG_SIGNATURE], b"", b"", False
    for kind, start, end in _chunks(content):
        critical = not kind[:1].islower()
        pixels = pixels or kind == b"IDAT"
        if critical or (kind == _TRANSPARENCY and _intact(content, start, end)):
            kept.append(content[start:end])
        elif kind == b"eXIf" and not pixels and _intact(content, start, end):
            exif = exif or content[start + 8 : end - 4]
        elif kind == b"iCCP" and not pixels and _intact(content, start, end):
            profile = profile or _inflated(content[start + 8 : end - 4])
    return Bare(b"".join(kept), exif, profile)


def check_pixels(png: bytes) -> None:
    """Raises ValueError for a wrong checksum in the pixel data.

    Pillow does not check the last chunk.
    """
    if not all(_intact(png, start, end) for kind, start, end in _chunks(png) if kind == b"IDAT"):
        raise ValueError("wrong checksum in IDAT")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, up to IEND or the end of the file."""
    position = len(PNG_SIGNATURE)
    for _ in range(MOST_CHUNKS):
        start, kind = position, content[position + 4 : position + 8]
        if start >= len(content):
            return
        position += 12 + int.from_bytes(content[start : start + 4], "big")
        yield kind, start, position
        if kind == b"IEND":
            return
    raise TooCostly(f"The PNG has more than {MOST_CHUNKS} chunks.")


def _intact(content: bytes, start: int, end: int) -> bool:
    return zlib.crc32(content[start + 4 : end - 4]).to_bytes(4, "big") == content[end - 4 : end]


def _inflated(chunk: bytes) -> bytes:
    """The profile in an iCCP chunk; empty if it is damaged or longer than MOST_PROFILE."""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(chunk[chunk.index(b"\0") + 2 :], MOST_PROFILE)
    except (ValueError, zlib.error):
        return b""
    return profile if inflate.eof else b""
