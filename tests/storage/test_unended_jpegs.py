"""A JPEG without its end marker is a photo if no pixel is missing, as in browsers."""

from typing import Any

import numpy as np
import pictures
import pytest
from hostile import lossless_jpeg
from PIL import Image

from storage.photos.photo import decode
from storage.problems import Problem
from storage.settings import Settings

SETTINGS = Settings()
END = b"\xff\xd9"
FORMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive, restarts": {"progressive": True, "restart_marker_blocks": 3},
    "restarts": {"restart_marker_blocks": 3},
    "restart rows": {"restart_marker_rows": 1},
    "finest": {"quality": 100, "subsampling": 0},
}


def forms(image: Image.Image) -> dict[str, bytes]:
    return {name: pictures.encoded(image, **options) for name, options in FORMS.items()}


PHOTOS = {
    **forms(pictures.photo(61, 43)),
    **{f"grey, {name}": content for name, content in forms(pictures.photo(61, 43).convert("L")).items()},
    **{f"flat, {name}": content for name, content in forms(Image.new("RGB", (61, 43), (200, 30, 90))).items()},
    "CMYK": pictures.encoded(pictures.photo(61, 43).convert("CMYK")),
}


def is_refused(content: bytes, at_least: int | None = None) -> bool:
    try:
        decode(content, SETTINGS, at_least)
    except Problem as problem:
        return problem.code == "image_decode_failed"
    return False


@pytest.mark.parametrize("at_least", [None, 16])
@pytest.mark.parametrize("name", PHOTOS)
def test_without_its_end_marker_a_jpeg_has_the_same_pixels(name: str, at_least: int | None) -> None:
    whole = PHOTOS[name]
    assert whole.endswith(END)
    header, expected = decode(whole, SETTINGS, at_least)
    for content in (whole[:-2], whole[:-1], whole[:-2] + bytes(50)):
        found_header, found = decode(content, SETTINGS, at_least)
        assert found_header == header
        assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("name", PHOTOS)
def test_missing_pixels_are_refused(name: str) -> None:
    """At every length: inside a symbol, before a restart marker, between two scans."""
    whole = PHOTOS[name]
    first = whole.index(b"\xff\xda") + 30
    accepted = [end for end in range(first, len(whole) - 3) if not is_refused(whole[:end])]
    _, expected = decode(whole, SETTINGS)
    for end in accepted:  # the last bytes may be padding, or code pixels outside the picture
        assert end > len(whole) - 40 or "flat" in name
        assert np.array_equal(np.asarray(decode(whole[:end], SETTINGS)[1]), np.asarray(expected))


def test_a_lossless_jpeg_needs_its_end_marker() -> None:
    """Its test picture has one code, so noise decodes like the missing data."""
    assert is_refused(lossless_jpeg(61, 43)[:-2])
