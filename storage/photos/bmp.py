"""BMP: accept only files without run-length compression."""

from storage.photos.containers import Bare, TooCostly

_OLD_HEADER = 12  # bytes of the OS/2 header, which has no compression field
_RUN_LENGTHS = (1, 2)


def bare_bmp(content: bytes) -> Bare:
    """The file unchanged. Raises TooCostly for run-length compression.

    Pillow decodes it in Python, which takes many seconds for 10 MB.
    """
    header, compression = (int.from_bytes(content[at : at + 4], "little") for at in (14, 30))
    if header > _OLD_HEADER and compression in _RUN_LENGTHS:
        raise TooCostly("The BMP uses run-length compression: save it without compression, or as PNG.")
    return Bare(content)
