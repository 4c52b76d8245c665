import io

import numpy as np
import pictures
import pytest
from PIL import Image

from model.images import confidence, scale_to_input, to_levels, to_mask, to_mask_png
from model.labels import PETS


def test_the_input_has_the_networks_size() -> None:
    assert scale_to_input(pictures.photo(500, 31), 128).shape == (128, 128, 3)
    assert scale_to_input(pictures.photo(1, 1), 128).dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10000, 1), (130, 77)])
def test_a_mask_has_the_size_that_was_asked_for(width: int, height: int) -> None:
    mask = to_mask(np.random.default_rng(0).normal(size=(128, 128, 3)).astype(np.float32), width, height)
    assert (mask.shape, mask.dtype) == ((height, width), np.uint8)


def test_the_largest_logit_wins() -> None:
    logits = np.random.default_rng(1).normal(size=(16, 16, 5)).astype(np.float32)
    np.testing.assert_array_equal(to_mask(logits, 16, 16), logits.argmax(-1))


def test_edges_are_interpolated_and_not_blocks() -> None:
    """A straight slanted edge in the logits stays straight at 8 times the size."""
    y, x = np.mgrid[:16, :16].astype(np.float32)
    logits = np.stack([x - y / 2 - 4, np.zeros_like(x)], -1)
    mask = to_mask(logits, 128, 128)
    big_y, big_x = (np.mgrid[:128, :128] + 0.5) / 8 - 0.5
    inside = (slice(8, -8), slice(8, -8))  # beyond the outermost centres nothing can be interpolated
    exact = (big_x - big_y / 2 - 4 < 0).astype(np.uint8)
    assert (mask[inside] != exact[inside]).mean() < 0.002


def test_confidence() -> None:
    certain = np.zeros((4, 5, 3), np.float32)
    np.testing.assert_allclose(confidence(certain), np.full((4, 5), 1 / 3), rtol=1e-6)
    certain[1, 2, 1] = 50
    assert confidence(certain)[1, 2] == pytest.approx(1)
    assert confidence(certain).dtype == np.float32


def test_confidence_is_the_largest_probability() -> None:
    logits = np.random.default_rng(3).normal(scale=4, size=(16, 12, 5)).astype(np.float32)
    odds = np.exp(logits.astype(float))
    np.testing.assert_allclose(confidence(logits), (odds / odds.sum(-1, keepdims=True)).max(-1), rtol=1e-5)


def test_levels() -> None:
    levels = to_levels(np.array([[0, 0.5, 1], [1 / 3, 0.999, 0.996]], np.float32), 127)
    assert (levels.tolist(), levels.dtype) == ([[0, 64, 127], [42, 127, 126]], np.uint8)


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
