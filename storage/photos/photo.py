"""What counts as a photo: checked by the web from the header alone, decoded by the worker (and for previews).

The limits are the settings `max_upload_*`. Allowed are JPEG, PNG and WebP by content, never by name.
"""

import io
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from PIL import Image, PngImagePlugin

from storage.photos import webp
from storage.photos.containers import PNG_SIGNATURE, TooCostly, bare_jpeg, bare_png, orientation
from storage.photos.costs import Size, check_frame
from storage.problems import Problem
from storage.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP")
JPEG_SIGNATURE = b"\xff\xd8\xff"
SIGNATURES = (JPEG_SIGNATURE, PNG_SIGNATURE, b"RIFF")
# How to turn the stored pixels upright, by the EXIF orientation tag (TIFF 6.0, tag 274).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
MASK_MODES = ("1", "L", "P", "RGB", "RGBA")
BAND = 256  # rows
MOST_TEXT_BYTES = 4 * 1024 * 1024  # compressed text chunks of a PNG unpack while its header is read


@dataclass(frozen=True)
class Header:
    """Format and upright size (EXIF applied) in pixels."""

    format: str
    width: int
    height: int


def read_header(content: bytes, settings: Settings) -> Header:
    """Checks everything that can be told without decoding. Raises Problem."""
    image, turn = _open(content, settings)
    with closing(image):
        return _header(image, turn)


def decode(content: bytes, settings: Settings, at_least: int | None = None) -> tuple[Header, Image.Image]:
    """The first frame, upright, in RGB, alpha over white. Raises Problem `image_decode_failed` for a damaged one.

    `at_least`: the side in pixels the caller needs; a larger JPEG is then decoded at a half, quarter or eighth of its
    size, several times faster. The header always tells the full size.
    """
    image, turn = _open(content, settings)
    header = _header(image, turn)
    try:
        with closing(image):
            if at_least:
                image.draft("RGB", (at_least, at_least))
            photo = _to_rgb(image)
        # What was stored is let go by now: the largest photo takes 100 MB each time that it is held.
        return header, photo.transpose(UPRIGHT[turn]) if turn in UPRIGHT else photo
    except Exception as error:  # whatever a decoder raises, it is the image that is damaged
        raise Problem("image_decode_failed", "The image data is damaged or incomplete.") from error


def decode_mask(content: bytes, settings: Settings) -> Image.Image:
    """A corrected mask, a PNG of 8 bits a channel or fewer, in its own mode. Raises Problem."""
    image, _ = _open(content, settings)
    if image.format != "PNG" or image.mode not in MASK_MODES:
        raise Problem("unprocessable_image", "A mask is a PNG of 8 bits a channel: a palette, RGB, or grey class ids.")
    try:
        image.load()
    except Exception as error:  # whatever a decoder raises, it is the mask that is damaged
        raise Problem("unprocessable_image", "The mask's data is damaged or incomplete.") from error
    return image


def _open(content: bytes, settings: Settings) -> tuple[Image.Image, int]:
    """→ the picture as it is stored, not decoded yet, and its EXIF orientation."""
    if not content:
        raise Problem("unprocessable_image", "The image is empty.")
    if len(content) > settings.max_upload_bytes:
        raise Problem("payload_too_large", f"An image may have at most {settings.max_upload_bytes} bytes.")
    if not content.startswith(SIGNATURES):
        raise Problem("unsupported_media_type", "The content is not a JPEG, PNG or WebP image.")
    _limit_pillow()
    try:
        _check_canvas(content, settings)
        bare, exif = _bare(content)
        image = Image.open(io.BytesIO(bare), formats=FORMATS)
    except TooCostly as error:
        raise Problem("unprocessable_image", str(error)) from error
    except Problem:
        raise
    except Exception as error:  # a broken header makes the plugins raise almost anything
        raise Problem("unprocessable_image", "The image's header is damaged or incomplete.") from error
    _check_size(image.size, settings)
    # Not Pillow's getexif(): it would decode a whole PNG to look behind its pixels.
    return image, orientation(exif or image.info.get("exif", b""))


def _bare(content: bytes) -> tuple[bytes, bytes]:
    """→ the file without what no decoder needs to see, and the EXIF block that was cut off with it."""
    if content.startswith(JPEG_SIGNATURE):
        return bare_jpeg(content)
    return (bare_png(content) if content.startswith(PNG_SIGNATURE) else content), b""


@cache
def _limit_pillow() -> None:
    """Pillow's limits are its module's variables: set before the first photo is opened, not by an import."""
    Image.MAX_IMAGE_PIXELS = None  # it would warn on stderr; `_check_size` refuses first
    PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT_BYTES


def _check_canvas(content: bytes, settings: Settings) -> None:
    """Before Pillow opens a WebP: libwebp allocates the whole canvas twice for a look at the header."""
    if found := webp.sizes(content):
        _check_size(found.canvas, settings)
        check_frame(found.frame, found.canvas)


def _check_size(size: Size, settings: Settings) -> None:
    pixels, side = settings.max_upload_pixels, settings.max_upload_side
    if max(size) > side or size[0] * size[1] > pixels:
        raise Problem("unprocessable_image", f"An image may have at most {pixels} pixels and {side} pixels per side.")


def _header(image: Image.Image, turn: int) -> Header:
    width, height = image.size
    if turn in SIDEWAYS:
        width, height = height, width
    return Header(str(image.format), width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """In bands: at full size each step would hold another 100 MB of the largest photo."""
    photo = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, BAND):
        box = (0, top, image.width, min(image.height, top + BAND))
        band = image.crop(box).convert("RGBA")
        photo.paste(band, box, band)
    return photo
