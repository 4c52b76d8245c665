"""What a photo costs to decode, known from its header: the memory, and whether a small file asks for too much of it."""

from collections.abc import Mapping

from storage.photos.containers import Size, TooCostly

# Bytes at the peak for each pixel of the photo, from the file to upright RGB. tests/storage/test_decoding_costs.py
# measures them on the largest photos.
BYTES_PER_PIXEL: Mapping[str, int] = {
    "JPEG": 12, "PNG": 10, "WEBP": 20, "HEIF": 22, "AVIF": 22, "TIFF": 16, "GIF": 12, "BMP": 10,
}  # fmt: skip
MOST_BYTES_PER_PIXEL = 24  # of a format that is not listed
LARGE_CANVAS = 1_000_000  # pixels
LEAST_SHARE = 16  # a first frame covers at least one part of so many of a large canvas


def decoding_bytes(kind: str, width: int, height: int) -> int:
    """The memory that decoding takes at its peak, also at a smaller size: that falls back to the full one."""
    return width * height * BYTES_PER_PIXEL.get(kind, MOST_BYTES_PER_PIXEL)


def check_frame(frame: Size, canvas: Size) -> None:
    """Raises TooCostly for an animation of a few bytes whose decoder would fill a huge canvas with nothing."""
    pixels = canvas[0] * canvas[1]
    if pixels > LARGE_CANVAS and frame[0] * frame[1] * LEAST_SHARE < pixels:
        raise TooCostly(
            f"The first frame is {frame[0]} x {frame[1]} pixels, far smaller than its canvas of "
            f"{canvas[0]} x {canvas[1]} pixels."
        )
