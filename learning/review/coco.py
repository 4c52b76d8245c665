"""COCO annotations: polygons and run lengths of one photo's regions, read and written."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from learning.review.entries import CorrectedMask, Ids, Pixels, Region, Unusable, check_size, painted, polygon
from model.labels import BACKGROUND
from storage.settings import Settings
from storage.training.reviews import Subject

ANNOTATIONS = "annotations.json"


def read(path: Path, settings: Settings) -> Iterator[CorrectedMask]:  # noqa: ARG001 - the same for all formats
    """One entry per image of the file, or of annotations.json in the folder. Raises Unusable."""
    try:
        document = json.loads((path / ANNOTATIONS if path.is_dir() else path).read_text(encoding="utf-8"))
        names = {entry["id"]: str(entry["name"]) for entry in document["categories"]}
        regions = defaultdict[Any, list[Mapping[str, Any]]](list)
        for annotation in document["annotations"]:
            regions[annotation["image_id"]].append(annotation)
        images = [(str(image["file_name"]), image, regions[image["id"]]) for image in document["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{path} is not a COCO file: {error!r}") from error
    for name, image, found in images:

        def draw(
            subject: Subject, image: Mapping[str, Any] = image, found: Sequence[Mapping[str, Any]] = found
        ) -> bytes:
            if not found:
                raise Unusable("it has no annotations")
            check_size(subject, image.get("width"), image.get("height"))
            try:
                return painted(subject, [_region(subject, names, annotation) for annotation in found])
            except (TypeError, ValueError) as error:
                raise Unusable(f"an annotation is damaged: {error}") from error

        yield CorrectedMask(name, draw)


def written(images: Sequence[tuple[str, Ids]], labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A COCO document of masks, each with the name of its photo. A category's id is the class's id + 1."""
    shown = [label for label in labels if label["name"] != BACKGROUND]
    annotations = [
        _annotation(number, label["id"], ids == label["id"])
        for number, (_, ids) in enumerate(images, 1)
        for label in shown
        if (ids == label["id"]).any()
    ]
    return {
        "images": [
            {"id": number, "file_name": name, "width": ids.shape[1], "height": ids.shape[0]}
            for number, (name, ids) in enumerate(images, 1)
        ],
        "categories": [{"id": label["id"] + 1, "name": label["name"], "supercategory": ""} for label in shown],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
    }


def _annotation(image: int, class_id: int, pixels: Pixels) -> dict[str, Any]:
    encoded = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {
        "image_id": image,
        "category_id": class_id + 1,
        "segmentation": {"size": list(pixels.shape), "counts": encoded["counts"].decode()},
        "area": int(pixels.sum()),
        "bbox": [float(side) for side in coco.toBbox(encoded)],
        "iscrowd": 0,
    }


def _region(subject: Subject, names: Mapping[Any, str], annotation: Mapping[str, Any]) -> Region:
    category, shape = annotation.get("category_id"), annotation.get("segmentation")
    if category not in names:
        raise Unusable(f"unknown category {category!r}")
    return names[category], lambda: _pixels(subject, shape)


def _pixels(subject: Subject, shape: object) -> Pixels:
    if isinstance(shape, dict):
        return _run_lengths(subject, shape)
    if not isinstance(shape, list) or not shape:
        raise Unusable("an annotation has neither polygons nor run lengths")
    return reduce(np.logical_or, (polygon(subject, points) for points in shape))


def _run_lengths(subject: Subject, shape: Mapping[str, Any]) -> Pixels:
    if shape.get("size") != [subject.height, subject.width]:
        raise Unusable("the size of its run lengths differs from the photo's")
    counts = shape.get("counts")
    try:
        lengths = counts if isinstance(counts, list) else list(_lengths(str(counts)))
        if sum(lengths) != subject.height * subject.width or min(lengths) < 0:
            raise ValueError("they do not cover the photo")
        bits = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)  # runs of 0 and 1 in turn
    except (ValueError, TypeError, IndexError) as error:
        raise Unusable(f"its run lengths are damaged: {error}") from error
    return bits.reshape(subject.width, subject.height).T  # column by column


def _lengths(text: str) -> Iterator[int]:
    """COCO's compressed run lengths (rleFrString in its maskApi.c). Raises IndexError or ValueError.

    pycocotools' decoder returns uninitialised memory for pixels that the run lengths do not reach.
    """
    last, at = (0, 0), 0  # from the fourth on, a length is stored as the difference from the one two before
    for number in range(len(text)):
        if at == len(text):
            return
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[at]) - 48
            if not 0 <= code < 64:
                raise ValueError("they contain a strange character")
            value |= (code & 0x1F) << shift
            at, shift, more = at + 1, shift + 5, bool(code & 0x20)
        if code & 0x10:
            value -= 1 << shift
        value += last[1] if number > 2 else 0
        last = (value, last[0])
        yield value
