"""What is an image, by its first bytes; a file's suffix says only what it should be."""

HEAD_BYTES = 32
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif")
)
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# What systems leave beside photos; nobody takes it for a photo.
CLUTTER = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"))
CLUTTER_FOLDERS = frozenset(("__macosx", "@eadir"))


def is_image(head: bytes, size: int) -> bool:
    """Whether the server may know it: JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF. What it refuses, it names."""
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") in (0, size)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith(MAGIC) or (head[4:8] == b"ftyp" and head[8:12] in BRANDS)


def is_clutter(name: str) -> bool:
    """AppleDouble files, folder settings, caches of thumbnails, and our own unfinished files."""
    own = name.startswith(".segue-") and name.endswith(".part")
    return own or name.startswith("._") or name.lower() in CLUTTER


def is_clutter_folder(name: str) -> bool:
    return name.lower() in CLUTTER_FOLDERS
