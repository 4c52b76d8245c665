"""The C library's heap, set when a process starts."""

import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE_BYTES = 8 * 1024 * 1024


def return_large_blocks() -> None:
    """Give the memory of large pictures back to the system as soon as they are freed.

    glibc raises the size from which it does so to 32 MiB once a large block was freed; from then on it keeps Pillow's
    blocks of 16 MiB in a heap per thread. That cost a web process 350 MiB. Other C libraries go on as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
