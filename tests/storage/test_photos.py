"""The policy for images: which headers are refused, and what a decoded photo looks like."""

import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pictures
import pytest
from hostile import arithmetic, chunk, lossless_jpeg, many_scans, originals, png, small_frame
from PIL import Image
from services import ROOT

from storage.photos.formats import BY_NAME
from storage.photos.photo import Header, decode, read_header
from storage.problems import Problem
from storage.settings import Settings

SETTINGS = Settings()
FORMATS = tuple(BY_NAME)
LOSSLESS = {
    "JPEG": {"quality": 98, "subsampling": 0},
    "WEBP": {"lossless": True},
    "HEIF": {"quality": -1, "chroma": 444},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


REFUSED = {
    "empty": (b"", "unprocessable_image"),
    "text renamed .jpg": (b"hello, I am a photo", "unsupported_media_type"),
    "heic without anything": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unprocessable_image"),
    "bmp without anything": (b"BM", "unprocessable_image"),
    "gif without anything": (b"GIF89a", "unprocessable_image"),
    "tiff without anything": (b"II*\0", "unprocessable_image"),
    "jpeg of two bytes": (b"\xff\xd8\xff", "unprocessable_image"),
    "truncated header": (pictures.jpeg()[:100], "unprocessable_image"),
    "riff that is no webp": (b"RIFF\x10\0\0\0WAVEfmt ", "unsupported_media_type"),
    "bomb of 30000 x 30000": (
        png(30000, 30000, chunk(b"IDAT", zlib.compress(b"\0" * 10**6))),
        "unprocessable_image",
    ),
    "one side too long": (png(10001, 1), "unprocessable_image"),
    "too many pixels": (png(5001, 5000), "unprocessable_image"),
    "canvas of 30000 x 30000": (small_frame((30000, 30000), (5000, 4000)), "unprocessable_image"),
    "too many bytes": (b"\xff\xd8\xff" + b"\0" * SETTINGS.max_upload_bytes, "payload_too_large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_header(name: str) -> None:
    content, code = REFUSED[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Problem) as caught:
        read_header(content, SETTINGS)
    assert caught.value.code == code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kB


OTHERS = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "HTML": b"\r\n<!DOCTYPE html><title>403 Forbidden</title>",
    "PDF": b"%PDF-1.7\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "JPEG 2000": pictures.encoded(pictures.photo(), "JPEG2000"),
    "JPEG XL": b"\xff\x0a\0\0",
    "an icon (ICO)": pictures.encoded(pictures.photo(), "ICO"),
    "a video or a camera's raw file (MP4 family)": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "a video or audio file (RIFF)": b"RIFF\x10\0\0\0WAVEfmt ",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "in an unknown format": b"hello, I am a photo",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_that_is_not_accepted_is_named(name: str) -> None:
    with pytest.raises(Problem) as caught:
        read_header(OTHERS[name], SETTINGS)
    assert caught.value.code == "unsupported_media_type"
    assert f"The content is {name}. Accepted formats: JPEG, PNG, WebP, HEIC," in caught.value.detail


@pytest.mark.parametrize("kind", FORMATS)
def test_allowed_formats(kind: str) -> None:
    content = pictures.encoded(pictures.photo(33, 21), kind)
    assert read_header(content, SETTINGS) == Header(kind, 33, 21)
    header, photo = decode(content, SETTINGS)
    assert (header.width, header.height) == photo.size == (33, 21)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_every_orientation_is_turned_upright(tag: int, kind: str) -> None:
    upright = pictures.photo(90, 60)
    content = pictures.with_orientation(upright, tag, kind=kind, **LOSSLESS.get(kind, {}))
    header, photo = decode(content, SETTINGS)
    assert (header.width, header.height) == photo.size == (90, 60)
    difference = np.abs(np.asarray(photo, int) - np.asarray(upright, int))
    assert difference.mean() < 2


@pytest.mark.parametrize("size", [(1, 1), (10000, 1), (1, 10000), (3, 7)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    _, photo = decode(pictures.encoded(pictures.photo(*size), "PNG"), SETTINGS, at_least=256)
    assert photo.size == size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    if mode == "I;16":
        image, kind = Image.fromarray(grey.astype(np.uint16) * 257), "PNG"
    else:
        image, kind = Image.fromarray(grey).convert("RGB").convert(mode), "JPEG" if mode == "CMYK" else "PNG"
    _, photo = decode(pictures.encoded(image, kind), SETTINGS)
    assert (photo.mode, photo.size) == ("RGB", (64, 64))
    blocks = [a.reshape(8, 8, 8, 8).mean((1, 3)) for a in (np.asarray(photo.convert("L"), float), grey)]
    assert np.abs(blocks[0] - blocks[1]).max() < 12  # in blocks: mode 1 is dithered


def test_alpha_lies_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    _, photo = decode(pictures.encoded(image, "PNG"), SETTINGS)
    assert photo.getpixel((0, 0)) == (255, 0, 0)
    assert photo.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "HEIF", "AVIF", "GIF", "TIFF"])
def test_only_the_first_frame_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    content = pictures.encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    _, photo = decode(content, SETTINGS)
    red, _, blue = np.asarray(photo).reshape(-1, 3).mean(0)
    assert red > 200
    assert blue < 50


def test_a_large_jpeg_is_decoded_small_and_reported_at_full_size() -> None:
    header, photo = decode(pictures.jpeg(2000, 1500), SETTINGS, at_least=256)
    assert (header.width, header.height) == (2000, 1500)
    assert photo.size == (500, 375)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_after_the_header_fails_the_decode(kind: str) -> None:
    whole = pictures.encoded(pictures.photo(400, 300), kind)
    with pytest.raises(Problem) as caught:
        decode(whole[: len(whole) * 2 // 3], SETTINGS)
    assert caught.value.code in ("image_decode_failed", "unprocessable_image")


def test_reading_an_orientation_after_the_pixels_does_not_decode_them() -> None:
    """Pillow's getexif() would decode them. Here the pixels are missing, and no error occurs."""
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    content = png(30, 20, chunk(b"IDAT", b"broken"), chunk(b"eXIf", exif.tobytes()[6:]))
    assert read_header(content, SETTINGS) == Header("PNG", 30, 20)


def test_broken_exif_gives_no_orientation() -> None:
    buffer = io.BytesIO()
    pictures.photo(30, 20).save(buffer, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff")
    assert read_header(buffer.getvalue(), SETTINGS) == Header("JPEG", 30, 20)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *[(arithmetic(marker), "arithmetic coding") for marker in (0xC9, 0xCA, 0xCB)],
        (many_scans(21, 40), "more than 20 scans"),
        (small_frame((5000, 5000)), "8 x 8 pixels, far smaller than its canvas of 5000 x 5000"),
    ],
)
def test_a_header_of_a_very_slow_decode_is_refused(content: bytes, reason: str) -> None:
    for refuse in (read_header, decode):
        with pytest.raises(Problem) as caught:
            refuse(content, SETTINGS)
        assert caught.value.code == "unprocessable_image"
        assert reason in caught.value.detail


def test_files_of_real_encoders_are_below_those_limits() -> None:
    assert decode(many_scans(20, 40), SETTINGS)[1].size == (40, 40)
    cmyk = pictures.encoded(pictures.photo(40, 40).convert("CMYK"), progressive=True)
    assert decode(cmyk, SETTINGS)[1].size == (40, 40)
    sticker = small_frame((1000, 900))
    assert decode(sticker, SETTINGS)[1].size == (1000, 900)
    assert decode(originals()["webp animated"], SETTINGS)[1].size == (61, 43)


def test_importing_does_not_change_pillow() -> None:
    code = (
        "import warnings; from PIL import Image, PngImagePlugin;"
        "state = lambda: (warnings.filters[:], Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_MEMORY);"
        "before = state(); import storage.photos.photo; assert state() == before"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_text_is_never_decompressed() -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 200 * 1024 * 1024, 9))
    content = png(10, 10, text, chunk(b"IDAT", zlib.compress(b"\0" * 310)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(content, SETTINGS)[0] == Header("PNG", 10, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kB


@pytest.mark.parametrize("at_least", [None, 64])
def test_a_lossless_jpeg_cannot_be_scaled_and_is_decoded_whole(at_least: int | None) -> None:
    header, photo = decode(lossless_jpeg(640, 480), SETTINGS, at_least)
    assert header == Header("JPEG", 640, 480)
    assert photo.size == (640, 480)
    assert photo.getextrema() == ((128, 128),) * 3


def test_a_damaged_lossless_jpeg_stays_damaged() -> None:
    whole = lossless_jpeg(640, 480)
    with pytest.raises(Problem) as caught:
        decode(whole[: len(whole) // 2], SETTINGS, at_least=64)
    assert caught.value.code == "image_decode_failed"


PNG_FILE = pictures.encoded(pictures.photo(), "PNG")
WRONG_TEXT = struct.pack(">I", 4) + b"tEXta\0bc" + bytes(4)
SHOWN_BY_BROWSERS = {
    "zeros behind the end": PNG_FILE + bytes(200_000),
    "wrong checksum of a text": PNG_FILE[:33] + WRONG_TEXT + PNG_FILE[33:],
    "wrong checksum of a transparency": PNG_FILE[:33] + struct.pack(">I", 6) + b"tRNS" + bytes(10) + PNG_FILE[33:],
    "wrong checksum of a profile": PNG_FILE[:33] + struct.pack(">I", 5) + b"iCCPk\0\0xy" + bytes(4) + PNG_FILE[33:],
    "wrong checksum of an EXIF block": PNG_FILE[:33] + struct.pack(">I", 4) + b"eXIfMM\0*" + bytes(4) + PNG_FILE[33:],
}


@pytest.mark.parametrize("name", SHOWN_BY_BROWSERS)
def test_a_png_whose_pixels_are_whole(name: str) -> None:
    content = SHOWN_BY_BROWSERS[name]
    assert read_header(content, SETTINGS) == Header("PNG", 64, 48)
    assert decode(content, SETTINGS)[1].tobytes() == decode(PNG_FILE, SETTINGS)[1].tobytes()


def wrong_checksum(kind: bytes) -> bytes:
    end = PNG_FILE.index(kind) + 4 + int.from_bytes(PNG_FILE[PNG_FILE.index(kind) - 4 :][:4], "big")
    return PNG_FILE[:end] + bytes(4) + PNG_FILE[end + 4 :]


@pytest.mark.parametrize(
    "content",
    [wrong_checksum(b"IHDR"), wrong_checksum(b"IDAT"), PNG_FILE[:-100], PNG_FILE[:200], PNG_FILE[:200] + bytes(9000)],
    ids=["IHDR", "IDAT", "cut in the pixels", "cut early", "zeros instead of pixels"],
)
def test_a_png_whose_pixels_are_not_whole(content: bytes) -> None:
    with pytest.raises(Problem) as caught:
        decode(content, SETTINGS)
    assert caught.value.code in ("image_decode_failed", "unprocessable_image")
