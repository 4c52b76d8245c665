"""BMP: only that its pixels are stored as they are."""

from storage.photos.containers import Bare, TooCostly

_OLD_HEADER = 12  # bytes of OS/2's, which knows no compression
_RUN_LENGTHS = (1, 2)


def bare_bmp(content: bytes) -> Bare:
    """As it is. Raises TooCostly for run lengths: Pillow decodes them in Python, 10 MB of them in many seconds."""
    header, compression = (int.from_bytes(content[at : at + 4], "little") for at in (14, 30))
    if header > _OLD_HEADER and compression in _RUN_LENGTHS:
        raise TooCostly("The BMP is compressed by run lengths: save it without compression, or as PNG.")
    return Bare(content)
