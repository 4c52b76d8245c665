"""Mask PNGs as other programs read them."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from model.labels import PETS
from model.png import to_mask_png


def test_a_mask_png_keeps_ids_colours_text_and_chunks() -> None:
    mask = np.random.default_rng(2).integers(0, 3, (20, 30), np.uint8)
    content = to_mask_png(mask, PETS, {"segue:job": "job_1"}, {b"seCF": b"what it says"})
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), mask)
        assert image.text["segue:job"] == "job_1"  # type: ignore[attr-defined]
        assert image.private_chunks == [(b"seCF", b"what it says")]  # type: ignore[attr-defined]
        color = PETS[mask[0, 0]].color
        assert image.convert("RGB").getpixel((0, 0)) == color


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (301, 2), (64, 1000)])
def test_another_decoder_reads_the_same_pixels(shape: tuple[int, int]) -> None:
    """OpenCV reads PNG by libpng or libspng, and expands the palette."""
    mask = np.random.default_rng(4).integers(0, 3, shape, np.uint8)
    read = cv2.imdecode(np.frombuffer(to_mask_png(mask, PETS, {}, {}), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read, np.array([label.color for label in PETS], np.uint8)[mask])
