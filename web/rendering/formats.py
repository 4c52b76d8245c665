"""Which format of a mask is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MIMEAccept

from storage.problems import Problem

UNTINTED = "background"  # a class of this name is shown as the photo it is
TYPES = {
    "index": "image/png",
    "overlay": "image/jpeg",
    "cutout": "image/png",
    "confidence": "image/png",
    "rle": "application/json",
    "geojson": "application/geo+json",
}
BY_ACCEPT = ("index", "overlay", "geojson", "rle")  # one a type; of those that are liked equally, the first
DEFAULT_ALPHA = 0.55


@dataclass(frozen=True)
class Choice:
    """A format with its parameters: `alpha` of an overlay, the ids that a cutout shows."""

    format: str
    alpha: float = 0
    shown: tuple[int, ...] = ()

    @property
    def tag(self) -> str:
        """Tells it apart from the other renderings of a mask; empty for the mask itself."""
        parameters = {"overlay": f"-{self.alpha}", "cutout": "-" + ".".join(map(str, self.shown))}
        return "" if self.format == "index" else f"-{self.format}{parameters.get(self.format, '')}"


def wanted(named: str | None, accept: MIMEAccept) -> str:
    """`format=`, or else what the Accept header likes best. Raises Problem."""
    if named is not None:
        if named not in TYPES:
            raise Problem("invalid_request", f"format: one of {', '.join(TYPES)}.")
        return named
    if not accept:
        return "index"
    best = max(BY_ACCEPT, key=lambda one: accept.quality(TYPES[one]))
    if not accept.quality(TYPES[best]):
        raise Problem("not_acceptable", f"Available types: {', '.join(TYPES[one] for one in BY_ACCEPT)}.")
    return best


def choice(named: str, arguments: Mapping[str, str], classes: Sequence[dict[str, Any]]) -> Choice:
    """With the parameters that this format has; others are not looked at. Raises Problem."""
    if named == "overlay":
        return Choice(named, alpha=_alpha(arguments.get("alpha")))
    if named == "cutout":
        return Choice(named, shown=_shown(arguments.get("classes"), classes))
    return Choice(named)


def _alpha(given: str | None) -> float:
    try:
        alpha = DEFAULT_ALPHA if given is None else float(given)
    except ValueError:
        alpha = -1
    if not 0 <= alpha <= 1:
        raise Problem("invalid_request", "alpha: a number from 0 to 1.")
    return abs(alpha)  # -0.0 is a number from 0 to 1 too


def _shown(given: str | None, classes: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """Ids, sorted, of classes given by name or id; without any, of all but the background."""
    if given is None:
        return tuple(entry["id"] for entry in classes if entry["name"] != UNTINTED)
    known = {str(entry["id"]): entry["id"] for entry in classes} | {entry["name"]: entry["id"] for entry in classes}
    names = [name.strip() for name in given.split(",")]
    if any(name not in known for name in names):
        raise Problem("invalid_request", f"classes: names or ids of {', '.join(entry['name'] for entry in classes)}.")
    return tuple(sorted({known[name] for name in names}))
