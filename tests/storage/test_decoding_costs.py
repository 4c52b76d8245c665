"""The memory reserved for a decode against the memory it takes, and the sizes a WebP declares."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import examined
import hostile
import pictures
import pytest

from storage.photos import webp
from storage.photos.costs import BYTES_PER_PIXEL, decoding_bytes
from storage.photos.photo import decode, read_header
from storage.problems import Problem

pytestmark = pytest.mark.alone  # memory is measured
MIB = 1024 * 1024
PATIENCE_S = 300
SMALL = 256
LOADED = ("jpeg", "png RGBA", "webp lossless", "HEIF", "AVIF", "GIF", "BMP", "TIFF tiff_lzw")


def peak_mb(content: bytes, at_least: int | None, small: list[bytes]) -> int:
    """Return the peak memory of a decode, in MB.

    The baseline is a process that has decoded a `small` photo of each kind.
    """
    for photo in small:
        decode(photo, examined.SETTINGS)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak of the resident memory
    before = examined.peak_mb()
    with suppress(Problem):
        decode(content, examined.SETTINGS, at_least)
    return examined.peak_mb() - before


@pytest.mark.parametrize("name", hostile.LARGEST)
def test_no_photo_takes_more_memory_than_is_reserved_for_it(name: str) -> None:
    content, small = hostile.largest(name), [hostile.originals()[kind] for kind in LOADED]
    header = read_header(content, examined.SETTINGS)
    reserved = decoding_bytes(header.format, header.width, header.height) / MIB
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        for sent, at_least in ((content, None), (content, SMALL), (content[: -len(content) // 3], SMALL)):
            taken = pool.submit(peak_mb, sent, at_least, small).result(PATIENCE_S)
            assert taken < reserved * 1.02, f"{len(sent)} bytes, at least {at_least}"


def test_an_unknown_format_counts_as_the_most_expensive() -> None:
    assert decoding_bytes("NEW", 10, 10) > max(decoding_bytes(kind, 10, 10) for kind in BYTES_PER_PIXEL)


@pytest.mark.parametrize("size", [(1, 1), (61, 43), (300, 2), (16383, 1)])
@pytest.mark.parametrize("how", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
def test_the_declared_size_is_read_without_a_decoder(size: tuple[int, int], how: dict[str, object]) -> None:
    content = pictures.encoded(pictures.photo(*size), "WEBP", **how)
    assert webp.sizes(content) == webp.Sizes(size, size)


def test_the_first_frame_is_found_after_a_profile() -> None:
    frames = {"save_all": True, "append_images": [pictures.photo(61, 43, 1)], "icc_profile": b"icc" * 1001}
    content = pictures.encoded(pictures.photo(61, 43), "WEBP", **frames)
    assert webp.sizes(content) == webp.Sizes((61, 43), (61, 43))
    assert webp.sizes(hostile.small_frame((5000, 4000), (9, 8))) == webp.Sizes((5000, 4000), (9, 8))


def test_a_truncated_webp_or_another_format_declares_no_size() -> None:
    content = hostile.originals()["webp animated"]
    assert webp.sizes(hostile.originals()["png"]) is None
    for end in range(30):
        assert webp.sizes(content[:end]) is None
    for end in range(30, len(content)):
        webp.sizes(content[:end])
