"""Masks as JSON: exact run lengths and exact polygons.

Import this module inside functions: it imports numpy, and a web process starts without it.
"""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from storage.result import ClassShare
from web.rendering.polygons import Ring, polygons

MOST_CORNERS = 500_000  # of all classes: 7 MB of JSON and 2 s. The pets model's mask of the largest photo has 60,000


def rle(mask: bytes, classes: Sequence[ClassShare]) -> bytes:
    """Return the stored PNG as COCO's compressed run lengths, one mask per class, column by column."""
    ids = _ids(mask)
    rows = [{**_properties(entry), "counts": _run_lengths(ids == entry["id"])} for entry in classes]
    return json.dumps({"size": list(ids.shape), "classes": rows}, separators=(",", ":")).encode()


def geojson(mask: bytes, classes: Sequence[ClassShare]) -> bytes:
    """Return the stored PNG as a FeatureCollection with one MultiPolygon per class.

    Coordinates are pixels from the top left corner. Raises Problem for more than MOST_CORNERS.
    """
    ids, features, room = _ids(mask), [], MOST_CORNERS
    for entry in classes:
        shapes = polygons(ids, entry["id"], room)
        room -= sum(len(ring) - 1 for shape in shapes for ring in shape)
        features.append(_feature(entry, shapes))
    return b'{"type":"FeatureCollection","features":[' + b",".join(features) + b"]}"


def _ids(mask: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as image:
        return np.asarray(image)


def _properties(entry: ClassShare) -> dict[str, Any]:
    return {"id": entry["id"], "name": entry["name"], "color": entry["color"], "pixels": entry["pixels"]}


def _run_lengths(chosen: NDArray[np.bool_]) -> str:
    counts: bytes = coco.encode(np.asfortranarray(chosen.view(np.uint8)))["counts"]
    return counts.decode()


def _feature(entry: ClassShare, shapes: list[list[Ring]]) -> bytes:
    properties = json.dumps(_properties(entry), separators=(",", ":"))
    coordinates = ",".join(f"[{','.join(_ring(ring) for ring in shape)}]" for shape in shapes)
    geometry = f'{{"type":"MultiPolygon","coordinates":[{coordinates}]}}'
    return f'{{"type":"Feature","properties":{properties},"geometry":{geometry}}}'.encode()


def _ring(ring: Ring) -> str:
    # Not json.dumps: for a ring of a million points it would hold the GIL and block every other request.
    return f"[{','.join(_points(ring))}]"


def _points(ring: Ring) -> Iterator[str]:
    for x, y in zip(ring[:, 0].tolist(), ring[:, 1].tolist(), strict=True):
        yield f"[{x},{y}]"
