"""What is stripped from a file around its pixels, and what remains."""

import io
import struct

import hostile
import pictures
import profiles
import pytest
from PIL import Image

from storage.photos.containers import Bare, orientation
from storage.photos.jpeg import MOST_SCANS, MOST_SEGMENTS, bare_jpeg
from storage.photos.png import MOST_CHUNKS, bare_png

JPEG, PNG = hostile.originals()["jpeg"], hostile.originals()["png"]


def pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        return image.tobytes()


@pytest.mark.parametrize("name", [name for name in hostile.originals() if name.startswith(("jpeg", "JPEG", "MPO"))])
def test_a_bare_jpeg_has_the_same_pixels_and_no_metadata(name: str) -> None:
    whole = hostile.originals()[name]
    bare, info = bare_jpeg(whole), Image.open(io.BytesIO(whole)).info
    assert pixels(bare.content) == pixels(whole if bare.ended else whole + b"\xff\xd9")
    assert (bare.exif, bare.profile) == (info.get("exif", b""), info.get("icc_profile", b""))
    assert bare_jpeg(bare.content) == Bare(bare.content)
    assert bare.ended == whole.endswith(b"\xff\xd9")
    assert not {"exif", "icc_profile", "comment", "mp"} & set(Image.open(io.BytesIO(bare.content)).info)


def test_data_after_the_first_picture_is_cut_off() -> None:
    assert bare_jpeg(JPEG + b"a film of the moment" + JPEG) == bare_jpeg(JPEG)


def test_a_bare_png_is_its_first_frame() -> None:
    bare = bare_png(hostile.originals()["APNG"]).content
    assert not any(kind in bare for kind in (b"acTL", b"fcTL", b"fdAT"))
    assert pixels(bare) == pixels(PNG)


def test_a_bare_png_has_the_same_pixels_and_no_metadata() -> None:
    profile, exif = profiles.display_p3(), pictures.Image.Exif()
    exif[pictures.ORIENTATION] = 6
    text = pictures.PngInfo()
    text.add_text("comment", "hello")
    whole = pictures.encoded(pictures.photo(), "PNG", icc_profile=profile, exif=exif, pnginfo=text, dpi=(72, 72))
    bare = bare_png(whole)
    assert (bare.profile, orientation(bare.exif)) == (profile, 6)
    assert pixels(bare.content) == pixels(whole)
    assert not Image.open(io.BytesIO(bare.content)).info


def test_a_truncated_file_keeps_the_bytes_it_has() -> None:
    for end in range(8, len(PNG)):
        assert PNG.startswith(bare_png(PNG[:end]).content)
    for end in range(2, len(JPEG)):
        assert bare_jpeg(JPEG[:end]).content.removesuffix(b"\xff\xd9") in JPEG


def test_too_many_parts_are_refused() -> None:
    bare_jpeg(JPEG[:2] + hostile.segment(0xE5, b"") * (MOST_SEGMENTS - 100) + JPEG[2:])
    with pytest.raises(ValueError):
        bare_jpeg(JPEG[:2] + hostile.segment(0xE5, b"") * MOST_SEGMENTS + JPEG[2:])
    with pytest.raises(ValueError):
        bare_jpeg(JPEG[:-2] + hostile.segment(0xDA, b"") * MOST_SCANS + JPEG[-2:])
    bare_png(PNG[:33] + hostile.chunk(b"abCd", b"") * (MOST_CHUNKS - 100) + PNG[33:])
    with pytest.raises(ValueError):
        bare_png(PNG[:33] + hostile.chunk(b"abCd", b"") * MOST_CHUNKS + PNG[33:])


def tag(kind: int, value: bytes, order: str = ">", count: int = 1) -> bytes:
    start = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, 1)
    return start + struct.pack(f"{order}HHI", pictures.ORIENTATION, kind, count) + value


@pytest.mark.parametrize(
    ("exif", "turn"),
    [
        (b"Exif\0\0" + tag(3, b"\0\x06\0\0"), 6),
        (tag(3, b"\x06\0\0\0", "<"), 6),
        (tag(4, b"\0\0\0\x08"), 8),
        (tag(1, b"\x03\0\0\0"), 3),
        (tag(3, b"\0\x09\0\0"), 1),
        (tag(3, b"\0\0\0\0"), 1),
        (tag(3, b"\0\x06\0\0", count=2), 1),
        (tag(5, b"\0\0\0\x06"), 1),
        (tag(3, b"\0\x06\0"), 1),
        (b"", 1),
        (b"MM\0*", 1),
        (b"MM\0*\xff\xff\xff\xff", 1),
        (b"XX\0*\0\0\0\x08\0\x01", 1),
    ],
)
def test_the_orientation_is_read_or_there_is_none(exif: bytes, turn: int) -> None:
    assert orientation(exif) == turn
