"""Which thumbnails show the same picture."""

import numpy as np
import pytest

from model import data
from model.data import THUMBNAIL, Pictures, same_pictures

GENERATOR = np.random.default_rng(7)
PHOTOS = [GENERATOR.integers(0, 256, (THUMBNAIL, THUMBNAIL), np.uint8) for _ in range(40)]
THUMBNAILS = [photo.tobytes() for photo in PHOTOS]
MIRRORED = [photo[:, ::-1].tobytes() for photo in PHOTOS]


@pytest.mark.parametrize("at_a_time", [1, 7, 40, 100])
def test_blocks_find_the_same_pairs(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    monkeypatch.setattr(data, "COMPARED", at_a_time)
    assert same_pictures(THUMBNAILS, MIRRORED[10:]) == [(index, index - 10) for index in range(10, 40)]


def test_a_growing_list_finds_what_was_added() -> None:
    pictures = Pictures()
    for index, thumbnail in enumerate(THUMBNAILS):
        assert pictures.alike(thumbnail) == []
        pictures.add(thumbnail)
        assert pictures.alike(MIRRORED[index]) == [index]
    given = Pictures(THUMBNAILS)
    given.add(THUMBNAILS[3])
    assert given.alike(THUMBNAILS[3]) == [3, 40]
