"""The output formats of a mask. Whatever the API, its description and the archive know of a format is in FORMATS."""

from collections.abc import Callable
from dataclasses import dataclass

from werkzeug.datastructures import MIMEAccept

from storage.problems import Problem
from storage.settings import Settings
from web.rendering import renderings
from web.rendering.classes import Classes


@dataclass(frozen=True)
class Choice:
    """The parameters of a format: an overlay's `alpha`, the ids of the classes that a cutout shows."""

    alpha: float = 0
    shown: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """What a format is made of. `photo`: the upload, b"" for a format that needs none; `size`: width, height."""

    mask: bytes
    photo: bytes
    classes: Classes
    size: tuple[int, int]
    settings: Settings


@dataclass(frozen=True)
class Format:
    """`by_accept`: offered to a client that names no format. `document`: its schema in the API's description.

    `parameters`: names of query parameters, which are fields of Choice after they were read.
    """

    name: str
    media_type: str
    extension: str
    by_accept: bool
    needs_photo: bool
    render: Callable[[Source, Choice], bytes]
    document: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Of a file with this format beside files with the others."""
        return self.extension if self.name in (STORED, self.extension) else f"{self.name}.{self.extension}"


STORED = "index"  # the file that the worker wrote, which nothing has to be made of

# Of formats that a client likes equally the first is chosen; one for each media type can be `by_accept`.
_ALL = (
    Format(STORED, "image/png", "png", True, False, lambda of, _: of.mask),
    Format(
        "overlay", "image/jpeg", "jpg", True, True,
        lambda of, choice: renderings.overlay(of.photo, of.mask, of.classes, choice.alpha, of.settings),
        parameters=("alpha",),
    ),
    Format(
        "cutout", "image/png", "png", False, True,
        lambda of, choice: renderings.cutout(of.photo, of.mask, choice.shown, of.settings), parameters=("classes",),
    ),
    Format("ids", "image/png", "png", False, False, lambda of, _: renderings.ids(of.mask)),
    Format("confidence", "image/png", "png", False, False, lambda of, _: renderings.confidence(of.mask, of.size)),
    Format(
        "geojson", "application/geo+json", "geojson", True, False,
        lambda of, _: renderings.geojson(of.mask, of.classes), "Polygons",
    ),
    Format(
        "rle", "application/json", "json", True, False,
        lambda of, _: renderings.rle(of.mask, of.classes), "RunLengths",
    ),
)  # fmt: skip
FORMATS = {one.name: one for one in _ALL}


def wanted(named: str | None, accept: MIMEAccept) -> Format:
    """`format=`, or else what the Accept header likes best. Raises Problem."""
    if named is not None:
        if named not in FORMATS:
            raise Problem("invalid_request", f"format: one of {', '.join(FORMATS)}.")
        return FORMATS[named]
    offered = [one for one in FORMATS.values() if one.by_accept]
    if not accept:
        return offered[0]
    best = max(offered, key=lambda one: accept.quality(one.media_type))
    if not accept.quality(best.media_type):
        raise Problem("not_acceptable", f"Available types: {', '.join(one.media_type for one in offered)}.")
    return best
