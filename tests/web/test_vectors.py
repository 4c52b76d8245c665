"""Run lengths and polygons represent any mask exactly."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from services import SHIPPED_MODEL
from shapely.geometry import shape
from shapely.validation import explain_validity

from model.segmenter import Segmenter
from storage.problems import Problem
from web.rendering import vectors
from web.rendering.vectors import geojson, rle

Mask = NDArray[np.uint8]


def drawn(*rows: str) -> Mask:
    return np.array([[int(pixel) for pixel in row] for row in rows], np.uint8)


SPOTS = {
    "one pixel": drawn("0"),
    "one pixel of another": drawn("000", "010", "000"),
    "a hole": drawn("111", "101", "111"),
    "an island in a hole": drawn("11111", "10001", "10101", "10001", "11111"),
    "an island in a hole of an island": drawn(*["1111111", "1000001", "1011101", "1010101", "1011101", "1000001"]),
    "touching at corners": drawn("10", "01"),
    "touching the other way": drawn("01", "10"),
    "a chessboard": drawn("1010", "0101", "1010", "0101"),
    "holes that touch at a corner": drawn("1111", "1011", "1101", "1111"),
    "holes that touch the other way": drawn("1111", "1101", "1011", "1111"),
    "holes beside each other": drawn("111111", "101011", "111111", "100101", "111111"),
    "a hole that opens at a corner": drawn("110", "101", "111"),
    "one column": drawn(*"0110100"),
}
masks = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 3))


def png(mask: Mask) -> bytes:
    image = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    image.putpalette(bytes(range(12)))
    return pictures.encoded(image, "PNG")


def classes(mask: Mask, count: int = 4) -> list[dict[str, Any]]:
    return [
        {"id": i, "name": f"class {i}", "color": [i, 0, 0], "pixels": int((mask == i).sum()), "fraction": 0.5}
        for i in range(count)
    ]


def rasterised(polygon: list[list[list[int]]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill by the even-odd rule at the pixel centres, with a ray to the left."""
    inside = np.zeros((height, width), bool)
    y, x = np.mgrid[:height, :width] + 0.5
    for ring in polygon:
        assert ring[0] == ring[-1]
        assert len(ring) >= 5
        for (x0, y0), (x1, y1) in itertools.pairwise(ring):
            assert (x0 == x1) != (y0 == y1)
            inside ^= (x > x0) & (min(y0, y1) < y) & (y < max(y0, y1)) & (x0 == x1)
    return inside


def area(ring: list[list[int]]) -> int:
    """The signed area (shoelace formula): positive if the ring turns from x to y."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) // 2


def check_valid(coordinates: list[Any], pixels: int) -> None:
    """Check OGC Simple Features, which PostGIS, QGIS and other GeoJSON readers require."""
    whole = shape({"type": "MultiPolygon", "coordinates": coordinates})
    assert whole.is_valid, explain_validity(whole)
    assert whole.area == pixels


def check_polygons(mask: Mask) -> None:
    document = json.loads(geojson(png(mask), classes(mask)))
    assert document["type"] == "FeatureCollection"
    for entry, feature in zip(classes(mask), document["features"], strict=True):
        assert feature["type"] == "Feature"
        assert feature["properties"] == {name: entry[name] for name in ("id", "name", "color", "pixels")}
        assert feature["geometry"]["type"] == "MultiPolygon"
        check_valid(feature["geometry"]["coordinates"], entry["pixels"])
        seen = np.zeros(mask.shape, int)
        for polygon in feature["geometry"]["coordinates"]:
            seen += rasterised(polygon, *mask.shape)
            outline, holes = area(polygon[0]), [area(ring) for ring in polygon[1:]]
            assert outline > 0
            assert all(hole < 0 for hole in holes)
            assert outline + sum(holes) == rasterised(polygon, *mask.shape).sum()
        np.testing.assert_array_equal(seen, mask == entry["id"])  # this also fails if two polygons overlap


@pytest.mark.parametrize("name", SPOTS)
def test_polygons_of_spots(name: str) -> None:
    check_polygons(SPOTS[name])
    check_polygons(np.pad(SPOTS[name], 2))


@given(masks)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_polygons_represent_any_mask(mask: Mask) -> None:
    check_polygons(mask)


def test_polygons_of_real_masks_are_valid(pets: Path) -> None:
    segmenter = Segmenter(SHIPPED_MODEL)
    photos = sorted((pets / "fullsize_test_photos").glob("*.jpg"))[:12]
    assert photos
    for photo in photos:
        with Image.open(photo) as opened:
            [mask] = segmenter.masks([opened.convert("RGB")])
        features = json.loads(geojson(png(mask), classes(mask)))["features"]
        for entry, feature in zip(classes(mask), features, strict=True):
            check_valid(feature["geometry"]["coordinates"], entry["pixels"])


def test_a_ring_that_touches_itself_is_an_outline_and_a_hole() -> None:
    mask = SPOTS["a hole that opens at a corner"]
    [[outline, hole]] = json.loads(geojson(png(mask), classes(mask)))["features"][1]["geometry"]["coordinates"]
    assert hole == [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]] or sorted(hole[1:]) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert [2, 1] in outline


def test_polygons_of_a_mask_of_many_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seams between bands do not show in the polygons."""
    import web.rendering.polygons as module

    mask = np.asarray(pictures.photo(90, 120).convert("L")) // 64
    whole = geojson(png(mask), classes(mask))
    monkeypatch.setattr(module, "BAND", 7)
    assert geojson(png(mask), classes(mask)) == whole
    check_polygons(mask)


def test_pieces_and_holes_are_counted() -> None:
    document = json.loads(geojson(png(SPOTS["an island in a hole"]), classes(SPOTS["an island in a hole"])))
    ring, island = document["features"][1]["geometry"]["coordinates"]
    assert ring == [[[0, 0], [5, 0], [5, 5], [0, 5], [0, 0]], [[1, 1], [1, 4], [4, 4], [4, 1], [1, 1]]]
    assert island == [[[2, 2], [3, 2], [3, 3], [2, 3], [2, 2]]]
    assert document["features"][3]["geometry"]["coordinates"] == []


def test_pixels_that_touch_at_a_corner_are_two_polygons() -> None:
    mask = SPOTS["touching at corners"]
    feature = json.loads(geojson(png(mask), classes(mask)))["features"][1]
    assert len(feature["geometry"]["coordinates"]) == 2


def test_too_many_corners_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = SPOTS["a chessboard"]
    monkeypatch.setattr(vectors, "MOST_CORNERS", 64)
    assert geojson(png(mask), classes(mask))
    monkeypatch.setattr(vectors, "MOST_CORNERS", 63)
    with pytest.raises(Problem) as caught:
        geojson(png(mask), classes(mask))
    assert caught.value.code == "mask_too_detailed"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised in pycocotools' decoder
@given(masks)
@example(drawn("0"))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_run_lengths_represent_any_mask(mask: Mask) -> None:
    document = json.loads(rle(png(mask), classes(mask)))
    assert document["size"] == list(mask.shape)
    for entry, told in zip(classes(mask), document["classes"], strict=True):
        assert {name: told[name] for name in ("id", "name", "color", "pixels")} == {
            name: entry[name] for name in ("id", "name", "color", "pixels")
        }
        decoded = coco.decode({"size": document["size"], "counts": told["counts"]})
        np.testing.assert_array_equal(decoded, mask == entry["id"])
