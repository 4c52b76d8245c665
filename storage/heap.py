"""Configure the C library's heap when a process starts."""

import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE_BYTES = 8 * 1024 * 1024


def return_large_blocks() -> None:
    """Return the memory of large images to the system as soon as they are freed.

    glibc does so for blocks above a threshold, which it raises up to 32 MiB once a large block is
    freed. From then on it keeps Pillow's 16 MiB blocks in a heap per thread, which cost a web
    process 350 MiB. A fixed threshold prevents this. With other C libraries this function does
    nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
