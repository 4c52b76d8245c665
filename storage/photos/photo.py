"""Check and decode photos. Web processes check only headers, except for previews; workers decode.

The limits are the settings `max_upload_*`; the formats are those of `storage/photos/formats.py`.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from PIL import Image

from storage.photos.colour import Transform, to_srgb
from storage.photos.containers import MOST_PROFILE, Bare, Box, Limits, TooCostly, orientation
from storage.photos.formats import TITLES, Format, describe, recognise
from storage.photos.png import check_pixels
from storage.photos.unended import with_noise
from storage.problems import Problem
from storage.settings import Settings

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
FLAT = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}  # mode → mode before the conversion to sRGB; RGB for others


@dataclass(frozen=True)
class Header:
    """Format and upright size (EXIF applied) in pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Stored:
    """An opened photo, not decoded yet."""

    kind: Format
    bare: Bare
    image: Image.Image
    turn: int
    profile: bytes

    @property
    def header(self) -> Header:
        width, height = self.image.size
        if self.turn in SIDEWAYS:
            width, height = height, width
        return Header(str(self.image.format), width, height)


def read_header(content: bytes, settings: Settings) -> Header:
    """Check everything that can be checked without decoding. Raises Problem."""
    stored = _open(content, settings)
    with closing(stored.image):
        return stored.header


def decode(content: bytes, settings: Settings, at_least: int | None = None) -> tuple[Header, Image.Image]:
    """The first frame, upright, in sRGB, with alpha over white.

    `at_least`: the side in pixels that the caller needs. A larger JPEG is then decoded at a half,
    quarter or eighth of its size, which is several times faster. The header always has the full
    size. Raises Problem, `image_decode_failed` for damaged image data.
    """
    stored = _open(content, settings)
    header = stored.header
    try:
        digests = [] if stored.bare.ended else [_digest(_pixels(one, at_least)) for one in _continued(stored)]
        photo = _pixels(stored, at_least)
        if any(_digest(photo) != digest for digest in digests):
            raise ValueError("pixels are missing")
        if stored.bare.frame:
            _clear_around(photo, stored.bare.frame)
        return header, photo.transpose(UPRIGHT[stored.turn]) if stored.turn in UPRIGHT else photo
    except Exception as error:  # any decoder error means a damaged image
        raise Problem("image_decode_failed", "The image data is damaged or incomplete.") from error


def _continued(stored: Stored) -> Iterator[Stored]:
    """A JPEG without its end marker, continued with noise."""
    for content in with_noise(stored.bare.content):
        bare = Bare(content)
        yield replace(stored, bare=bare, image=_opened(stored.kind, bare))


def _digest(photo: Image.Image) -> bytes:
    """A digest of the pixels, which takes no second copy of them."""
    found = hashlib.blake2b()
    for top in range(0, photo.height, BAND):
        found.update(photo.crop((0, top, photo.width, min(photo.height, top + BAND))).tobytes())
    return found.digest()


def _clear_around(photo: Image.Image, frame: Box) -> None:
    """Paint the canvas white around its frame: it is transparent there, whatever its palette."""
    left, top, right, bottom = frame
    width, height = photo.size
    for box in ((0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom)):
        photo.paste("white", box)


def _pixels(stored: Stored, at_least: int | None) -> Image.Image:
    """The pixels as stored, in RGB. Releases the stored image, since each copy may take 100 MB."""
    full = stored.image.size
    if stored.image.format == "PNG":
        check_pixels(stored.bare.content)
    with closing(stored.image) as image:
        if at_least:
            image.draft("RGB", (at_least, at_least))
        declared = image.size
        try:
            return _to_rgb(image, stored.profile)
        except Exception:
            if declared == full:
                raise
    # Reduced decoding failed, as for a lossless JPEG. Full decoding shows whether it is damaged.
    with _opened(stored.kind, stored.bare) as image:
        return _to_rgb(image, stored.profile)


def decode_mask(content: bytes, settings: Settings) -> Image.Image:
    """A corrected mask: a PNG with at most 8 bits per channel, in its own mode. Raises Problem."""
    stored = _open(content, settings)
    image = stored.image
    if image.format != "PNG" or image.mode not in MASK_MODES:
        raise Problem("unprocessable_image", "A mask is a PNG of 8 bits a channel: a palette, RGB, or grey class ids.")
    try:
        check_pixels(stored.bare.content)
        image.load()
    except Exception as error:  # any decoder error means a damaged mask
        raise Problem("unprocessable_image", "The mask's data is damaged or incomplete.") from error
    return image


def _open(content: bytes, settings: Settings) -> Stored:
    if not content:
        raise Problem("unprocessable_image", "The image is empty.")
    if len(content) > settings.max_upload_bytes:
        limit = settings.max_upload_bytes
        raise Problem("payload_too_large", f"The image has {len(content)} bytes; at most {limit} are accepted.")
    kind = recognise(content)
    if kind is None:
        detail = f"The content is {describe(content)}. Accepted formats: {TITLES}."
        raise Problem("unsupported_media_type", detail)
    limits = Limits(settings.max_upload_pixels, settings.max_upload_side)
    try:
        bare = kind.bare(content, limits)
        image = _opened(kind, bare)
        limits.check(image.size)
    except TooCostly as error:
        raise Problem("unprocessable_image", str(error)) from error
    except Exception as error:  # for a broken header, the plugins raise almost anything
        raise Problem("unprocessable_image", "The image's header is damaged or incomplete.") from error
    # Not Pillow's getexif(), which decodes a whole PNG to look for EXIF after the pixels.
    turn = 1 if kind.upright else orientation(bare.exif or image.info.get("exif") or b"")
    profile = bare.profile or image.info.get("icc_profile") or b""
    return Stored(kind, bare, image, turn, profile if len(profile) <= MOST_PROFILE else b"")


def _opened(kind: Format, bare: Bare) -> Image.Image:
    kind.load_decoder()
    Image.MAX_IMAGE_PIXELS = None  # Pillow would only warn; `Limits` refuses large images
    return Image.open(io.BytesIO(bare.content), formats=[kind.name])


def _to_rgb(image: Image.Image, profile: bytes) -> Image.Image:
    declared = image.size
    image.load()
    if image.size != declared:
        raise ValueError("the decoded size differs from the header")
    if image.mode.startswith("I"):  # 16 bits per pixel
        image = image.convert("I").point(lambda value: value / 256).convert("L")
        image.info.pop("transparency", None)
    flat = FLAT.get(image.mode, "RGB")
    convert = to_srgb(profile, flat) if profile else None
    if convert is None and not image.has_transparency_data:
        return image.convert("RGB")
    return _in_bands(image, flat, convert)


def _in_bands(image: Image.Image, flat: str, convert: Transform | None) -> Image.Image:
    """Convert colours and blend alpha over white, band by band.

    At full size, each step could take another 100 MB.
    """
    photo = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, BAND):
        box = (0, top, image.width, min(image.height, top + BAND))
        band = image.crop(box)
        alpha = band.convert("RGBA") if image.has_transparency_data else None
        colors = convert(band.convert(flat)) if convert else alpha or band.convert("RGB")
        photo.paste(colors, box, alpha)
    return photo
