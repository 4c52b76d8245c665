"""The items of a file of corrected masks, whatever its format, and how class names become ids."""

import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from model.labels import BACKGROUND
from storage.photos.class_ids import grey_png
from storage.training.reviews import Subject

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")

Ids = NDArray[np.uint8]
Pixels = NDArray[np.bool_]
# The name of a class, and a function that draws its pixels [height,width]: all at once may not fit into memory.
Region = tuple[str, Callable[[], Pixels]]
Place = Path | zipfile.Path


class Unusable(Exception):
    """A file or one of its items cannot be used; the text says why."""


@dataclass(frozen=True)
class CorrectedMask:
    """One item. `name`: as in the file; it contains the job's id.

    `draw` returns a grey PNG of class ids that fits the subject. Raises Unusable or Problem.
    """

    name: str
    draw: Callable[[Subject], bytes]

    @property
    def job_id(self) -> str:
        """Raises Unusable. Label tools add prefixes and folders to the name of a photo."""
        found = _JOB_ID.findall(self.name)
        if not found:
            raise Unusable("its name contains no job id")
        return str(found[-1])


def painted(subject: Subject, regions: Sequence[Region]) -> bytes:
    """A grey PNG of the regions over the background: smaller ones over larger, later ones over equal ones.

    Raises Unusable for an unknown class, or if pixels without a region remain and there is no
    class `background`.
    """
    ids, open_ = np.zeros(subject.size[::-1], np.uint8), np.ones(subject.size[::-1], np.bool_)
    for name, draw in sorted(regions, key=lambda region: -np.count_nonzero(region[1]())):
        pixels = draw()
        ids[pixels] = class_id(subject, name)
        open_ &= ~pixels
    if open_.any():
        try:
            ids[open_] = class_id(subject, BACKGROUND)
        except Unusable:
            raise Unusable(f"{np.count_nonzero(open_)} pixels have no class, and none is named background") from None
    return grey_png(Image.fromarray(ids))


def class_id(subject: Subject, name: str) -> int:
    """Raises Unusable."""
    for label in subject.labels:
        if label["name"] == name:
            return int(label["id"])
    known = ", ".join(str(label["name"]) for label in subject.labels)
    raise Unusable(f"unknown class {name!r}; the classes are {known}")


def check_size(subject: Subject, width: object, height: object) -> None:
    """Raises Unusable."""
    if (width, height) != subject.size:
        raise Unusable(f"the mask has {width} x {height} pixels, the photo {subject.width} x {subject.height}")


def polygon(subject: Subject, points: Sequence[float]) -> Pixels:
    """The pixels of a polygon x, y, x, y, …; corners outside the photo move to its edge. Raises Unusable."""
    if len(points) < 6 or len(points) % 2 or not all(map(_is_finite, points)):
        raise Unusable("a polygon needs three corners or more, each with x and y")
    corners = np.asarray(points, np.float64).reshape(-1, 2).clip(0, subject.size).ravel().tolist()
    [encoded] = coco.frPyObjects([corners], subject.height, subject.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2 about pycocotools' own array class
        return np.asarray(coco.decode(encoded), np.bool_)


def files(place: Place, suffix: str) -> Iterator[Place]:
    """The files of a folder with this suffix, in the order of their names; or the file itself."""
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise Unusable(f"{place} does not exist")
    yield from sorted((one for one in place.iterdir() if one.name.lower().endswith(suffix)), key=lambda one: one.name)


def opened(path: Path) -> Place:
    """A folder, or the inside of a zip archive."""
    try:
        return zipfile.Path(path) if zipfile.is_zipfile(path) else path
    except (OSError, zipfile.BadZipFile) as error:
        raise Unusable(f"{path}: {error}") from error


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
