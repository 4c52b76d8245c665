"""The inputs of a version: statistics of one photo, and the profile of the training photos.

A profile holds bins of each feature and the number of training photos in each. Workers count the photos that they
segment into the same bins, and storage/inputs/ compares the two.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.data import MANIFEST, Example, examples
from model.images import confidence
from model.masks import class_counts
from model.segmenter import Segmenter

INPUTS = "inputs.json"
BINS = 10
DIGITS = 6  # significant ones of a training photo's value
CHUNK = 32
MOST_PHOTOS = 4000  # with 10 bins, they know the share of each to within half a point

# Features of the photo as it was sent, and their bins if the training photos are resized copies.
EDGES = {
    "megapixels": (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0),
    "aspect": (0.5, 0.7, 0.8, 0.95, 1.05, 1.25, 1.4, 1.6, 2.0),
}
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "TIFF", "BMP")  # Pillow's names

Values = dict[str, float | str]


def of_pixels(pixels: NDArray[np.uint8]) -> Values:
    """The statistics of a network's input, uint8[size,size,3], with luma as in JPEG.

    On the scale 0 .. 1: `brightness` and `contrast`, mean and standard deviation of luma; `chroma`, mean of the largest
    minus the smallest of R, G, B; `warmth`, mean R minus mean B. `sharpness`: the variance of the Laplacian of luma on
    the scale 0 .. 255 (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000).
    """
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    red, green, blue = cv2.split(pixels)
    chroma = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    (brightness,), (contrast,) = cv2.meanStdDev(luma)
    _, (edges,) = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F))
    return {
        "brightness": float(brightness[0]) / 255,
        "contrast": float(contrast[0]) / 255,
        "chroma": cv2.mean(chroma)[0] / 255,
        "warmth": (cv2.mean(red)[0] - cv2.mean(blue)[0]) / 255,
        "sharpness": float(edges[0]) ** 2,
    }


def of_size(width: int, height: int, kind: str) -> Values:
    """The statistics of a photo as it was sent, upright. `kind`: Pillow's name of its format.

    The aspect ratio is rounded, since 4:3 is 1.332 after some scalings.
    """
    return {"megapixels": width * height / 1e6, "aspect": round(width / height, 2), "format": kind}


def of_result(sure: float, shares: Mapping[str, float]) -> Values:
    """The statistics of a mask: mean confidence, and the share of the pixels of each class."""
    return {"confidence": sure, **{f"share:{name}": share for name, share in shares.items()}}


def profile(segmenter: Segmenter, pairs: Sequence[Example], originals: bool = False) -> str:
    """The profile of the photos `pairs`, as JSON.

    `originals`: they have the sizes and formats in which they were sent; otherwise these features are only counted
    and not compared. Raises ValueError without photos.
    """
    chunks = (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))
    rows = [values for chunk in chunks for values in _rows(segmenter, chunk)]
    if not rows:
        raise ValueError("a profile needs training photos")
    features = {name: _bins(name, [row[name] for row in rows], originals) for name in rows[0]}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(bins)}" for name, bins in features.items())
    return f'{{"photos": {len(rows)}, "features": {{\n{lines}\n}}}}\n'


def training_photos(folder: Path, data: Path) -> list[Example]:
    """The photos under `data` on which the version in `folder` was trained; MOST_PHOTOS of them, evenly spread."""
    listed = {photo["name"] for photo in json.loads((folder / MANIFEST).read_text())["photos"]}
    pairs = [pair for pair in examples(data, "train") if pair.name in listed]
    return pairs[:: -(-len(pairs) // MOST_PHOTOS) or 1]


def measure(segmenter: Segmenter, photos: Sequence[Image.Image]) -> Iterator[Values]:
    """The statistics of RGB photos and of their masks at the network's size, but not those of their own size."""
    pixels, labels = np.stack([segmenter.to_input(photo) for photo in photos]), segmenter.card.labels
    for one, logits in zip(pixels, segmenter.engine.logits(pixels), strict=True):
        mask = logits.argmax(-1).astype(np.uint8)
        counts = class_counts(mask, len(labels))
        shares = {label.name: count / mask.size for label, count in zip(labels, counts, strict=True)}
        yield {**of_pixels(one), **of_result(float(confidence(logits).mean()), shares)}


def _rows(segmenter: Segmenter, pairs: Sequence[Example]) -> Iterator[Values]:
    photos = [pair.open()[0] for pair in pairs]
    for pair, photo, values in zip(pairs, photos, measure(segmenter, photos), strict=True):
        yield {**values, **of_size(*photo.size, _format(pair.photo))}


def _format(path: Path) -> str:
    with Image.open(path) as photo:
        return str(photo.format)


def _bins(name: str, values: Sequence[float | str], originals: bool) -> dict[str, Any]:
    if name == "format":
        counts = [values.count(kind) for kind in FORMATS]
        return {"categories": FORMATS, **({"counts": [*counts, len(values) - sum(counts)]} if originals else {})}
    if name in EDGES and not originals:
        return {"edges": EDGES[name]}
    return deciles(np.array([float(f"{value:.{DIGITS}g}") for value in values]))


def deciles(values: NDArray[np.float64]) -> dict[str, Any]:
    """The bins of float64[n] and their counts; fewer than BINS if values repeat.

    Each edge is one of the values, as `storage.inputs.drift.log_e_value` requires.
    """
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
