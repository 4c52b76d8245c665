"""ICC profiles, derived from the sRGB profile of Little CMS, and some hostile ones."""

import io
import struct
from collections.abc import Iterator

from PIL import Image, ImageCms

S15 = 65536
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
ADOBE_RGB = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def display_p3() -> bytes:
    return with_tags({tag: xyz(values) for tag, values in DISPLAY_P3.items()})


def adobe_rgb() -> bytes:
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))
    return with_tags({tag: xyz(values) for tag, values in ADOBE_RGB.items()} | curves)


def grey(exponent: float) -> bytes:
    return with_tags({b"kTRC": gamma(exponent)}, space=b"GRAY")


def cmyk() -> bytes:
    """A profile with paper of 80 % white and invented inks.

    Its table has the 16 corners (ICC.1, 10.11), with tetrahedral interpolation in between.
    """
    corners = bytearray()
    for corner in range(16):
        c, m, y, k = ((corner >> bit) & 1 for bit in (3, 2, 1, 0))
        light = 0.8 * (1 - k) * (1 - c * 0.5) * (1 - m * 0.3) * (1 - y * 0.1)
        corners += bytes([round(255 * light), 128 - 40 * c + 50 * m, 128 - 40 * c + 60 * y])
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", S15, 0, 0, 0, S15, 0, 0, 0, S15)
    table += straight * 4 + bytes(corners) + straight * 3
    return with_tags({b"A2B0": table, b"A2B1": table}, space=b"CMYK", connection=b"Lab ", kind=b"prtr", version=2)


def hostile() -> Iterator[tuple[str, bytes]]:
    yield "cut", display_p3()[:200]
    yield "noise", display_p3()[:132] + b"\xff" * 5000
    yield "endless tags", display_p3()[:128] + struct.pack(">I", 2**32 - 1) + display_p3()[132:]
    yield "a table of 500 million points", with_tags({b"A2B0": _lookup(255, 4)}, space=b"CMYK", kind=b"prtr")
    yield "a hundred thousand elements", with_tags({b"D2B0": _elements(100_000), b"A2B0": _lookup(2, 3)})


def _lookup(points: int, channels: int) -> bytes:
    return b"mft1" + bytes(4) + bytes([channels, 3, points, 0]) + bytes(36) + bytes(2000)


def _elements(count: int) -> bytes:
    """Multi-process elements (ICC.1, 10.17) that all point at the same matrix."""
    matrix = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    start = 16 + 8 * count
    places = struct.pack(">II", start, len(matrix)) * count
    return b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, count) + places + matrix


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * S15)) for value in values)


def gamma(exponent: float) -> bytes:
    return b"para" + bytes(8) + struct.pack(">i", round(exponent * S15))


def with_tags(
    tags: dict[bytes, bytes],
    space: bytes = b"RGB ",
    connection: bytes = b"XYZ ",
    kind: bytes = b"mntr",
    version: int = 4,
) -> bytes:
    """Return the sRGB profile with some tags replaced."""
    whole = srgb()
    entries = struct.iter_unpack(">4sII", whole[132 : 132 + 12 * int.from_bytes(whole[128:132], "big")])
    kept = {name: whole[start : start + size] for name, start, size in entries} | tags
    body, table, place = b"", b"", 132 + 12 * len(kept)
    for name, content in kept.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += padded
    head = whole[4:8] + bytes([version]) + whole[9:12] + kind + space + connection + whole[24:128]
    return struct.pack(">I", place + len(body)) + head + struct.pack(">I", len(kept)) + table + body


def opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def converted(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an sRGB picture to the pixels that a camera with this profile would store."""
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), opened(profile))
