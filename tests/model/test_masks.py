"""Masks at the photo's size, compared with an interpolation of every pixel."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model import masks
from model.masks import to_mask


def every_pixel(logits: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    planes = np.moveaxis(logits, -1, 0)
    return masks._largest(masks._resized(np.ascontiguousarray(plane), width, height) for plane in planes)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10000, 1), (130, 77), (1300, 901), (1, 1_000_001)])
def test_a_mask_has_the_requested_size(width: int, height: int) -> None:
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
    inside = (slice(8, -8), slice(8, -8))  # there is no interpolation beyond the outermost pixel centres
    exact = (big_x - big_y / 2 - 4 < 0).astype(np.uint8)
    assert (mask[inside] != exact[inside]).mean() < 0.002


sides = st.integers(2, 20)
lengths = st.integers(1, 300)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(sides, sides, st.integers(2, 20)),
    st.tuples(lengths, lengths),
    st.sampled_from((0.0, 0.37, 1.0, 4)),
)
def test_cells_give_the_ids_of_every_pixel_but_for_ties(
    seed: int, shape: tuple[int, int, int], size: tuple[int, int], step: float
) -> None:
    """With continuous logits (step 0), and with steps so coarse that many logits tie."""
    (h, w, classes), (width, height) = shape, size
    logits = np.random.default_rng(seed).normal(scale=2, size=(h, w, classes))
    logits = (np.round(logits / step) * step if step else logits).astype(np.float32)
    planes = [np.ascontiguousarray(logits[..., index]) for index in range(classes)]
    found, expected = masks._by_cells(logits, planes, width, height), every_pixel(logits, width, height)
    rows, columns = np.nonzero(found != expected)
    interpolated = np.stack([masks._resized(plane, width, height)[rows, columns] for plane in planes])
    pixels = np.arange(len(rows))
    gaps = interpolated[expected[rows, columns], pixels] - interpolated[found[rows, columns], pixels]
    assert np.all(gaps <= 1e-6 * np.abs(logits).max()), "a difference that is not a tie"


def test_regions_of_one_class_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a large mask of two halves, only the row of cells between them is interpolated."""
    logits = np.zeros((8, 8, 2), np.float32)
    logits[:4, :, 0], logits[4:, :, 1] = 5, 5
    expected = every_pixel(logits, 1000, 1000)
    interpolated: list[tuple[int, ...]] = []
    real = masks._largest

    def counted(planes: Iterable[masks.Plane]) -> masks.Ids:
        ids = real(planes)
        interpolated.append(ids.shape)
        return ids

    monkeypatch.setattr(masks, "_largest", counted)
    np.testing.assert_array_equal(to_mask(logits, 1000, 1000), expected)
    assert interpolated == [(125, 1000)]
