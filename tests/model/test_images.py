"""Photos at the size of the network, and the confidence of a mask."""

import numpy as np
import pictures
import pytest

from model.images import confidence, scale_to_input, to_levels


def test_the_input_has_the_networks_size() -> None:
    assert scale_to_input(pictures.photo(500, 31), 128).shape == (128, 128, 3)
    assert scale_to_input(pictures.photo(1, 1), 128).dtype == np.uint8


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
