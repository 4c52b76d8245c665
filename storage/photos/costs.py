"""Estimate from its header how much memory decoding a photo takes; refuse oversized canvases."""

from collections.abc import Mapping

from storage.photos.containers import Size, TooCostly

# Peak bytes per pixel of the photo while it is decoded to upright RGB, measured on the largest photos
# by tests/storage/test_decoding_costs.py.
BYTES_PER_PIXEL: Mapping[str, int] = {
    "JPEG": 12, "PNG": 10, "WEBP": 20, "HEIF": 22, "AVIF": 22, "TIFF": 16, "GIF": 12, "BMP": 10,
}  # fmt: skip
MOST_BYTES_PER_PIXEL = 24  # of formats not listed
LARGE_CANVAS = 1_000_000  # pixels
LEAST_SHARE = 16  # a first frame must cover at least 1/16 of a large canvas


def decoding_bytes(kind: str, width: int, height: int) -> int:
    """The peak memory of decoding.

    Reduced-size decoding counts as full size, since it may fall back to it.
    """
    return width * height * BYTES_PER_PIXEL.get(kind, MOST_BYTES_PER_PIXEL)


def check_frame(frame: Size, canvas: Size) -> None:
    """Raises TooCostly if the first frame covers only a small part of a large canvas.

    A file of a few bytes could otherwise make the decoder allocate a huge empty canvas.
    """
    pixels = canvas[0] * canvas[1]
    if pixels > LARGE_CANVAS and frame[0] * frame[1] * LEAST_SHARE < pixels:
        raise TooCostly(
            f"The first frame is {frame[0]} x {frame[1]} pixels, far smaller than its canvas of "
            f"{canvas[0]} x {canvas[1]} pixels."
        )
