"""Configure the C library's heap when a process starts."""

import ctypes

M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -2, -3, -8  # malloc.h
LARGE_BYTES = 8 * 1024 * 1024
KEPT_BYTES = 64 * 1024 * 1024


def configure_heap() -> None:
    """Return the memory of a large block to the system when it is freed, and keep that of small ones for reuse.

    glibc returns blocks above a threshold, which it raises up to 32 MiB once a large block is
    freed. From then on it keeps Pillow's 16 MiB blocks in a heap per thread, which cost a web
    process 350 MiB. A fixed threshold prevents this.

    But with a fixed threshold, glibc also returns all but 128 KiB of the free end of a heap. A worker
    then spent a quarter of its CPU time on 6,500 page faults per photo of 4000 x 3000 pixels. So this
    function keeps more. All threads share one heap, so that the free memory is kept only once
    (docs/decisions/0038-one-heap.md).

    With other C libraries this function does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TOP_PAD, KEPT_BYTES)
        mallopt(M_ARENA_MAX, 1)
