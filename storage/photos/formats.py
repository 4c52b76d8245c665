"""Recognise a file's format by its content, never by its name. Lists the accepted formats."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from storage.photos import webp
from storage.photos.bmp import bare_bmp
from storage.photos.containers import Bare, Limits
from storage.photos.costs import check_frame
from storage.photos.gif import GIF_SIGNATURES, bare_gif
from storage.photos.heif import HEIC_BRANDS, bare_avif, bare_heic, brands
from storage.photos.jpeg import JPEG_SIGNATURE, bare_jpeg
from storage.photos.png import PNG_SIGNATURE, bare_png
from storage.photos.tiff import bare_tiff
from storage.photos.tiff_directory import TIFF_SIGNATURES


@dataclass(frozen=True)
class Format:
    """An accepted format.

    `name`: Pillow's; `title`: the display name; `plugin`: the module with the decoder; `bare`:
    strips a file to its first image and raises ValueError or TooCostly; `upright`: the decoder
    applies the orientation.
    """

    name: str
    title: str
    plugin: str
    bare: Callable[[bytes, Limits], Bare]
    upright: bool = False

    def load_decoder(self) -> None:
        """Import the decoder, at the first photo of the format."""
        _load(self.plugin)


def bare_webp(content: bytes, limits: Limits) -> Bare:
    """Check the size and return the file unchanged.

    libwebp would allocate the canvas twice just to read the header.
    """
    if found := webp.sizes(content):
        limits.check(found.canvas)
        check_frame(found.frame, found.canvas)
    return Bare(content)


FORMATS = (
    Format("JPEG", "JPEG", "PIL.JpegImagePlugin", lambda content, _: bare_jpeg(content)),
    Format("PNG", "PNG", "PIL.PngImagePlugin", lambda content, _: bare_png(content)),
    Format("WEBP", "WebP", "PIL.WebPImagePlugin", bare_webp),
    Format("HEIF", "HEIC", "pillow_heif", bare_heic, upright=True),
    Format("GIF", "GIF", "PIL.GifImagePlugin", bare_gif),
    Format("BMP", "BMP", "PIL.BmpImagePlugin", lambda content, _: bare_bmp(content)),
    Format("TIFF", "TIFF", "PIL.TiffImagePlugin", bare_tiff),
    Format("AVIF", "AVIF", "PIL.AvifImagePlugin", bare_avif),
)
BY_NAME = {kind.name: kind for kind in FORMATS}
TITLES = ", ".join(kind.title for kind in FORMATS)

_SIGNATURES = {
    JPEG_SIGNATURE: "JPEG",
    PNG_SIGNATURE: "PNG",
    b"BM": "BMP",
    **dict.fromkeys(GIF_SIGNATURES, "GIF"),
    **dict.fromkeys(TIFF_SIGNATURES, "TIFF"),
}
_AVIF_BRANDS = frozenset([b"avif", b"avis"])
# First bytes of formats that are not accepted → the name that the problem shows.
_OTHERS = {
    b"%PDF": "PDF", b"%!PS": "PostScript", b"<svg": "SVG", b"<?xml": "XML", b"<!doctype html": "HTML",
    b"<html": "HTML", b"PK\3\4": "ZIP", b"\x1f\x8b": "gzip", b"8BPS": "Photoshop (PSD)", b"\0\0\1\0": "an icon (ICO)",
    b"\0\0\0\x0cjP  \r\n": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000", b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"IIU\0": "a camera's raw file", b"IIRO": "a camera's raw file",
    b"FUJIFILMCCD-RAW": "a camera's raw file", b"\x1aE\xdf\xa3": "a video (Matroska, WebM)",
    b"version https://git-lfs": "a Git LFS pointer",
}  # fmt: skip


def recognise(content: bytes) -> Format | None:
    """The format of the content; None if it is not accepted."""
    for signature, name in _SIGNATURES.items():
        if content.startswith(signature):
            return BY_NAME[name]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return BY_NAME["WEBP"]
    found = brands(content)
    if found & _AVIF_BRANDS:
        return BY_NAME["AVIF"]
    return BY_NAME["HEIF"] if found & HEIC_BRANDS else None


def describe(content: bytes) -> str:
    """A phrase for a format that is not accepted: "The content is …"."""
    start = content[:64].lstrip().lower() if content[:1] in (b"<", b" ", b"\n", b"\r", b"\t") else content[:64]
    if brands(content):
        return "a video or a camera's raw file (MP4 family)"
    if content.startswith(b"RIFF"):
        return "a video or audio file (RIFF)"
    for signature, name in _OTHERS.items():
        if start.startswith(signature):
            return name
    return "in an unknown format"


@cache
def _load(plugin: str) -> None:
    module: Any = importlib.import_module(plugin)
    if plugin == "pillow_heif":
        # One thread: the worker decodes several photos at a time. Skip images beside the photo.
        module.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    if plugin == "PIL.AvifImagePlugin":
        module.DEFAULT_MAX_THREADS = 1  # for the same reason
