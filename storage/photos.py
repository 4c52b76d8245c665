"""What counts as a photo: checked by the web from the header alone, decoded by the worker (and for previews).

The limits are the settings `max_upload_*`. Allowed are JPEG, PNG and WebP by content, never by name.
"""

import io
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, PngImagePlugin

from storage.problems import Problem
from storage.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
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

warnings.simplefilter("error", Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_MEMORY = 4 * 1024 * 1024  # compressed text chunks unpack while the header is read


@dataclass(frozen=True)
class Header:
    """Format and upright size (EXIF applied) in pixels."""

    format: str
    width: int
    height: int


def read_header(content: bytes, settings: Settings) -> Header:
    """Checks everything that can be told without decoding. Raises Problem."""
    with _open(content, settings) as image:
        return _header(image)


def decode(content: bytes, settings: Settings, at_least: int | None = None) -> tuple[Header, Image.Image]:
    """The first frame, upright, in RGB, alpha over white. Raises Problem `image_decode_failed` for a damaged one.

    `at_least`: the side in pixels the caller needs; a larger JPEG is then decoded at a half, quarter or eighth of its
    size, several times faster. The header always tells the full size.
    """
    with _open(content, settings) as image:
        header, turn = _header(image), UPRIGHT.get(_orientation(image))
        try:
            if at_least:
                image.draft("RGB", (at_least, at_least))
            photo = _to_rgb(image)
            return header, photo if turn is None else photo.transpose(turn)
        except Exception as error:  # whatever a decoder raises, it is the image that is damaged
            raise Problem("image_decode_failed", "The image data is damaged or incomplete.") from error


def _open(content: bytes, settings: Settings) -> Image.Image:
    if not content:
        raise Problem("unprocessable_image", "The image is empty.")
    if len(content) > settings.max_upload_bytes:
        raise Problem("payload_too_large", f"At most {settings.max_upload_bytes} bytes an image are accepted.")
    if not content.startswith(SIGNATURES):
        raise Problem("unsupported_media_type", "The content is not a JPEG, PNG or WebP image.")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(settings) from error
    except Exception as error:  # a broken header makes the plugins raise almost anything
        raise Problem("unprocessable_image", "The image's header is damaged or incomplete.") from error
    width, height = image.size
    if max(width, height) > settings.max_upload_side or width * height > settings.max_upload_pixels:
        raise _too_many_pixels(settings)
    return image


def _too_many_pixels(settings: Settings) -> Problem:
    pixels, side = settings.max_upload_pixels, settings.max_upload_side
    return Problem("unprocessable_image", f"At most {pixels} pixels and {side} a side are accepted.")


def _header(image: Image.Image) -> Header:
    width, height = image.size
    if _orientation(image) in SIDEWAYS:
        width, height = height, width
    # Cameras store a second picture behind the first: such a file is called MPO, but its first frame is a JPEG.
    return Header("JPEG" if image.format == "MPO" else str(image.format), width, height)


def _orientation(image: Image.Image) -> int:
    """The EXIF tag, as far as the header holds it: Pillow would decode a whole PNG to look behind its pixels."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # an unreadable EXIF block is no orientation
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        photo = image.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        return Image.alpha_composite(white, photo).convert("RGB")
    return image.convert("RGB")
