"""Recognises images by their first bytes. A suffix shows only what a file is meant to be."""

HEAD_BYTES = 32
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif")
)
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# Files that operating systems create beside photos: not reported.
CLUTTER = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"))
CLUTTER_FOLDERS = frozenset(("__macosx", "@eadir"))


def is_image(head: bytes, size: int) -> bool:
    """Whether it begins as a JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF does.

    The server does not read all of these, but it refuses the others with a clear problem.
    `head`: the first HEAD_BYTES; `size`: of the file.
    """
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") in (0, size)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith(MAGIC) or (head[4:8] == b"ftyp" and head[8:12] in BRANDS)


def is_clutter(name: str) -> bool:
    """Whether it is an AppleDouble file, folder settings, a thumbnail cache or our own temporary file."""
    own = name.startswith(".segue-") and name.endswith(".part")
    return own or name.startswith("._") or name.lower() in CLUTTER


def is_clutter_folder(name: str) -> bool:
    return name.lower() in CLUTTER_FOLDERS
