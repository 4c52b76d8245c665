"""HEIC, AVIF, GIF, BMP and TIFF: bombs are refused, and decoders are loaded on first use."""

import struct
import subprocess
import sys
import zlib

import heif
import hostile_formats as made
import numpy as np
import pictures
import profiles
import pytest
import services
from heif import Part, container, ispe
from PIL import Image

from storage.photos.photo import Header, decode, read_header
from storage.problems import Problem
from storage.settings import Settings

SETTINGS = Settings()
LIMIT = "at most 25000000 pixels and 10000 pixels per side"
REASONS = {
    "HEIC, sequence of 65528": LIMIT,
    "HEIC, sequence of 5000 in a small photo": "far larger than the photo",
    "AVIF, sequence of 5000 in a small photo": "far larger than the photo",
    "TIFF, a tile of 4992 in a small photo": "far larger than the photo",
    "HEIC, sequence of 65528 among the slices": LIMIT,
    "HEIC, ispe of 65528": LIMIT,
    "HEIC, alpha of 65528": LIMIT,
    "HEIC, grid of one large tile": "far larger than the photo",
    "HEIC, grid of a huge picture": LIMIT,
    "HEIC, grid of itself": "not supported",
    "HEIC, grid of grids": "not supported",
    "HEIC, overlay": "not supported",
    "HEIC, film": "a video",
    "HEIC, film of later frames": "a video",
    "HEIC, long tile": "far larger than the photo",
    "AVIF, sequence of 65536": LIMIT,
    "AVIF, sequence of 16000": LIMIT,
    "AVIF, sequence and ispe of 16000": LIMIT,
    "AVIF, alpha of 65536": LIMIT,
    "AVIF, film": "a video",
    "GIF, canvas of 65535": LIMIT,
    "GIF, canvas of 5000 around a dot": "far smaller than its canvas",
    "GIF, frame of 65535": LIMIT,
    "GIF, blocks of one byte": "more than 100000 blocks",
    "GIF, film on a huge canvas": LIMIT,
    "BMP of 65535": LIMIT,
    "BMP, run lengths": "run-length",
    "BMP, run lengths of 5000": "run-length",
    "TIFF of 65535": LIMIT,
    "TIFF, one strip for every row": "overlap",
    "TIFF, a huge tile": LIMIT,
    "TIFF, tiles larger than the photo": "far larger than the photo",
    "TIFF, a million strips": "more than 20000 strips",
    "TIFF, 65535 samples": "whole numbers",
    "TIFF, large JPEG": "header is damaged",
    "TIFF, truncated JPEG": "header is damaged",
    "TIFF, progressive JPEG": "not a baseline JPEG",
    "TIFF, JPEG of many segments": "more than 20 segments",
    "TIFF, fax": "compression fax (Group 4). Accepted: none, LZW, JPEG, Deflate, PackBits",
    "TIFF, old JPEG": "JPEG in the form that TIFF gave up in 1995",
    "BigTIFF, a directory at its end of time": "header is damaged",
    "BigTIFF, entries without end": "header is damaged",
}


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return made.bombs()


@pytest.mark.parametrize("name", REASONS)
def test_a_bomb_is_refused_by_its_header(name: str, bombs: dict[str, bytes]) -> None:
    with pytest.raises(Problem) as caught:
        read_header(bombs[name], SETTINGS)
    assert caught.value.code == "unprocessable_image"
    assert REASONS[name] in caught.value.detail


@pytest.mark.parametrize(
    "name", ["HEIC, EXIF", "AVIF, EXIF", "HEIC, nested properties", "TIFF, directories without end"]
)
def test_parts_that_no_decoder_reads_are_accepted(name: str, bombs: dict[str, bytes]) -> None:
    header, photo = decode(bombs[name], SETTINGS)
    assert (header.width, header.height) == photo.size


def test_a_grid_of_tiles_becomes_one_photo() -> None:
    """Phones write HEIC so. The tiles of the last row and column exceed the photo."""
    tile = heif.coded("HEIF")
    parts = [Part(b"grid", heif.grid(2, 3, 180, 120), (ispe(180, 120),)), tile]
    content = container(parts, [(b"dimg", 1, [2] * 6)])
    header, photo = decode(content, SETTINGS)
    assert header == Header("HEIF", 180, 120)
    first, second = (np.asarray(photo.crop((x, 0, x + 50, 50)), int) for x in (0, 64))
    assert np.abs(first - second).max() <= 2


def test_an_orientation_in_exif_alone_does_not_turn_a_heic() -> None:
    """Only irot and imir turn a HEIC (ISO/IEC 23008-12); cameras write EXIF as well."""
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    tile, block = heif.coded("HEIF", 64, 48), b"\0\0\0\6" + exif.tobytes()
    content = container([tile, Part(b"Exif", block)], [(b"cdsc", 2, [1])])
    assert read_header(content, SETTINGS) == Header("HEIF", 64, 48)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "TIFF"])
def test_colours_follow_the_profile(kind: str) -> None:
    color, profile = (220, 40, 30), profiles.display_p3()
    stored = profiles.converted(Image.new("RGB", (64, 64), color), profile)
    _, photo = decode(pictures.encoded(stored, kind, icc_profile=profile, quality=95), SETTINGS)
    assert np.abs(np.array(photo.getpixel((32, 32))) - color).max() <= 6


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "GIF", "TIFF"])
def test_alpha_lies_over_white(kind: str) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    _, photo = decode(pictures.encoded(image, kind), SETTINGS)
    assert np.abs(np.array(photo.getpixel((8, 32))) - (255, 0, 0)).max() <= 6
    assert np.abs(np.array(photo.getpixel((56, 32))) - (255, 255, 255)).max() <= 6


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_the_canvas_around_a_gifs_frame_is_white(mode: str) -> None:
    """Browsers show nothing there; Pillow shows the first colour of the palette."""
    whole = pictures.encoded(Image.new(mode, (4, 3), 1 if mode == "P" else "red"), "GIF")
    start = whole.index(b",", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    placed = struct.pack("<HHHH", 3, 2, 4, 3)
    content = whole[:6] + struct.pack("<HH", 10, 8) + whole[10:start] + b"," + placed + whole[start + 9 :]
    _, photo = decode(content, SETTINGS)
    expected = Image.new("RGB", (10, 8), "white")
    expected.paste(decode(whole, SETTINGS)[1], (3, 2))
    assert np.array_equal(np.asarray(photo), np.asarray(expected))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_of_tiles(order: str, bits: int) -> None:
    pixels = (b"\x30" * (bits // 8)) * 256
    data = zlib.compress(pixels)
    fields = {
        256: (4, (30,)), 257: (4, (20,)), 258: (3, (bits,)), 259: (3, (8,)), 262: (3, (1,)), 277: (3, (1,)),
        322: (3, (16,)), 323: (3, (16,)), 325: (4, (len(data),) * 4),
        324: (4, tuple(8 + len(data) * n for n in range(4))),
    }  # fmt: skip
    _, photo = decode(made.tiff(fields, data * 4, order=order), SETTINGS)
    assert (photo.size, photo.getextrema()) == ((30, 20), ((0x30, 0x30),) * 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
def test_a_tiff_of_jpegs(mode: str) -> None:
    image = pictures.photo(300, 200)
    content = pictures.encoded(image.convert(mode), "TIFF", compression="jpeg", quality=95)
    header, photo = decode(content, SETTINGS)
    assert header == Header("TIFF", 300, 200)
    expected = image.convert("L").convert("RGB") if mode == "L" else image
    assert np.abs(np.asarray(photo, int) - np.asarray(expected, int)).mean() < 6


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_a_bigtiff_is_a_tiff(compression: str) -> None:
    image = pictures.photo(300, 200)
    small = pictures.encoded(image, "TIFF", compression=compression, icc_profile=profiles.display_p3())
    big = made.big_tiff(small)
    header, photo = decode(big, SETTINGS)
    assert header == Header("TIFF", 300, 200)
    assert np.array_equal(np.asarray(photo), np.asarray(decode(small, SETTINGS)[1]))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_bmp_of_runs(bits: int) -> None:
    _, photo = decode(made.run_lengths(300, 20, bits), SETTINGS)
    expected = Image.new("RGB", (300, 20), (254, 0, 1))
    expected.paste((253, 0, 2), (255, 0, 300, 20))
    assert np.array_equal(np.asarray(photo), np.asarray(expected))


@pytest.mark.parametrize("end", [-2, -40])
def test_a_bmp_whose_runs_end_early_is_damaged(end: int) -> None:
    whole = made.run_lengths(300, 20)
    with pytest.raises(Problem) as caught:
        decode(whole[: end - 4], SETTINGS)
    assert caught.value.code == "image_decode_failed"


@pytest.mark.parametrize("tag", [(254, (4, (1,))), (50706, (4, (1,)))])
def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo(tag: tuple[int, tuple[int, tuple[int, ...]]]) -> None:
    content = made.grey_tiff(10, 10, 8, zlib.compress(bytes(100)), **{f"t{tag[0]}": tag[1]})
    with pytest.raises(Problem) as caught:
        read_header(content, SETTINGS)
    assert "raw file" in caught.value.detail


def test_a_decoder_is_loaded_by_the_first_photo_that_needs_it() -> None:
    """Import, JPEG and PNG load no other decoder, which would cost a worker memory and start time."""
    code = (
        "import sys, io; from PIL import Image; from storage.photos.photo import decode;"
        "from storage.settings import Settings\n"
        "for kind in ('JPEG', 'PNG'):\n"
        "    b = io.BytesIO(); Image.new('RGB', (9, 9)).save(b, kind); decode(b.getvalue(), Settings())\n"
        "late = {'pillow_heif', 'PIL.AvifImagePlugin', 'PIL._avif', 'PIL.WebPImagePlugin', 'PIL.TiffImagePlugin'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=services.ROOT, check=True)
