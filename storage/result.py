"""The JSON that describes a mask: in result objects, in SQL and in the API."""

from typing import NotRequired, TypedDict


class ClassLabel(TypedDict):
    """A class of a model. `id`: its value in the mask; `color`: sRGB, each from 0 to 255."""

    id: int
    name: str
    color: list[int]


class Regions(TypedDict):
    """Thresholds of the confidence in a class.

    The inner mask has the pixels of the class that reach `inner`. The outer mask has all pixels of the class, and those
    of other classes that stay below `outer`.
    """

    inner: float
    outer: float


class ClassShare(ClassLabel):
    """How much of a photo a class covers. `fraction`: of all pixels; `regions`: if the model version has them."""

    pixels: int
    fraction: float
    regions: NotRequired[Regions]


class Result(TypedDict):
    """`width`, `height`: of the upright photo; `confidence`: its mean over the photo.

    `sha256`: of the mask's file, which holds this result without it.
    """

    width: int
    height: int
    classes: list[ClassShare]
    confidence: float
    sha256: NotRequired[str]


class ModelName(TypedDict):
    """The model version that made a mask."""

    name: str
    version: str
