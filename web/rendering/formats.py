"""The output formats of a mask. The API, its OpenAPI description and the archive all read FORMATS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from werkzeug.datastructures import MIMEAccept

from storage.problems import Problem
from storage.result import ClassShare
from storage.settings import Settings
from web.rendering import regions, renderings


@dataclass(frozen=True)
class Choice:
    """The parameters of a format: an overlay's `alpha`, the ids of the classes that it shows."""

    alpha: float = 0
    shown: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """The input of a format. `photo`: the upload, b"" if the format needs none; `size`: width, height."""

    mask: bytes
    photo: bytes
    classes: Sequence[ClassShare]
    size: tuple[int, int]
    settings: Settings


@dataclass(frozen=True)
class Format:
    """One output format.

    `by_accept`: content negotiation may select it. `document`: the name of its schema in the OpenAPI
    description. `parameters`: the names of its query parameters.
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
        """The end of a file's name, which differs between formats of the same extension."""
        return self.extension if self.name in (STORED, self.extension) else f"{self.name}.{self.extension}"


DOCUMENT = "application/json"
STORED = "index"  # the file that the worker wrote; it needs no rendering

# Among formats that a client accepts equally, the first wins. At most one per media type is `by_accept`.
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
    Format(
        "soft", "image/png", "png", False, True,
        lambda of, _: renderings.soft(of.photo, of.mask, of.settings),
    ),
    Format("ids", "image/png", "png", False, False, lambda of, _: renderings.ids(of.mask)),
    Format("confidence", "image/png", "png", False, False, lambda of, _: renderings.confidence(of.mask, of.size)),
    Format(
        "inner", "image/png", "png", False, False,
        lambda of, choice: regions.inner(of.mask, of.classes, choice.shown, of.size), parameters=("classes",),
    ),
    Format(
        "outer", "image/png", "png", False, False,
        lambda of, choice: regions.outer(of.mask, of.classes, choice.shown, of.size), parameters=("classes",),
    ),
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
    """Return the format that `format=` names, or the one the Accept header prefers. Raises Problem."""
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


def preferred_to_document(accept: MIMEAccept) -> Format | None:
    """Return the format that the Accept header prefers to a JSON document; None if it prefers none.

    `*/*` and a missing header do not prefer a format to the document.
    """
    offered = [one for one in FORMATS.values() if one.by_accept and one.media_type != DOCUMENT]
    best = max(offered, key=lambda one: accept.quality(one.media_type))
    return best if accept.quality(best.media_type) > accept.quality(DOCUMENT) else None
