"""Configure the C library's heap when a process starts."""

import ctypes

M_TOP_PAD, M_MMAP_THRESHOLD = -2, -3  # malloc.h
LARGE_BYTES = 8 * 1024 * 1024
KEPT_BYTES = 64 * 1024 * 1024  # the most that a thread's heap can hold


def configure_heap() -> None:
    """Return the memory of large images to the system as soon as they are freed, and keep that of smaller blocks.

    glibc does so for blocks above a threshold, which it raises up to 32 MiB once a large block is
    freed. From then on it keeps Pillow's 16 MiB blocks in a heap per thread, which cost a web
    process 350 MiB. A fixed threshold prevents this.

    But with a fixed threshold, glibc also returns all but 128 KiB of the free end of a heap. A worker
    then spent a quarter of its CPU time on 6,500 page faults per photo of 4000 x 3000 pixels.

    With other C libraries this function does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TOP_PAD, KEPT_BYTES)
