"""The confidence that a mask carries in a private chunk."""

import io

import numpy as np
import pictures
from PIL import Image

from storage.photos.confidence import BACKGROUND, CONFIDENCE, MOST, pack, read


def carrying(content: bytes, width: int = 30, height: int = 20) -> bytes:
    chunks = pictures.PngInfo()
    chunks.add(CONFIDENCE, content)
    return pictures.encoded(Image.new("P", (width, height)), "PNG", pnginfo=chunks)


def test_packed_confidence_is_read_back() -> None:
    levels = np.random.default_rng(0).integers(0, MOST + 1, (7, 5), np.uint8)
    found = read(carrying(pack(levels.tobytes(), 5)), CONFIDENCE)
    assert found is not None
    assert (found.mode, found.size) == ("L", (5, 7))
    np.testing.assert_array_equal(np.asarray(found), np.round(levels * (255 / MOST)))


def test_the_extremes_are_exact() -> None:
    found = read(carrying(pack(bytes([0, MOST]), 2)), CONFIDENCE)
    assert found is not None
    assert found.tobytes() == b"\x00\xff"


def test_a_mask_without_confidence() -> None:
    assert read(pictures.mask_png({"segue:job": "job_1"}), CONFIDENCE) is None
    assert read(carrying(b"anything"), BACKGROUND) is None


def test_decoders_skip_the_chunk_and_editors_drop_it() -> None:
    """The case of the chunk type's letters: ancillary, private, reserved bit 0, not safe to copy."""
    for name in (CONFIDENCE, BACKGROUND):
        assert [bool(letter & 0x20) for letter in name] == [True, True, False, False]
    with Image.open(io.BytesIO(carrying(b"anything"))) as image:
        assert image.size == (30, 20)
        edited = pictures.encoded(image.convert("L"), "PNG")
    assert CONFIDENCE not in edited
