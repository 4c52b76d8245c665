"""The query parameters of an output format."""

from collections.abc import Mapping, Sequence

from storage.problems import Problem
from storage.result import ClassShare
from web.rendering.classes import UNTINTED
from web.rendering.formats import STORED, Choice, Format

DEFAULT_ALPHA = 0.55


def choice(chosen: Format, arguments: Mapping[str, str], classes: Sequence[ClassShare]) -> Choice:
    """Parse this format's query parameters and ignore the others. Raises Problem."""
    alpha = _alpha(arguments.get("alpha")) if "alpha" in chosen.parameters else 0
    shown = _shown(arguments.get("classes"), classes) if "classes" in chosen.parameters else ()
    return Choice(alpha, shown)


def tag(chosen: Format, parameters: Choice) -> str:
    """Return the ETag suffix that distinguishes the mask's renderings; empty for the stored file."""
    if chosen.name == STORED:
        return ""
    values = {"alpha": str(parameters.alpha), "classes": ".".join(map(str, parameters.shown))}
    return "".join(f"-{part}" for part in (chosen.name, *(values[name] for name in chosen.parameters)))


def _alpha(given: str | None) -> float:
    try:
        alpha = DEFAULT_ALPHA if given is None else float(given)
    except ValueError:
        alpha = -1
    if not 0 <= alpha <= 1:
        raise Problem("invalid_request", "alpha: a number from 0 to 1.")
    return abs(alpha)  # -0.0 passes the check too, and would make another ETag


def _shown(given: str | None, classes: Sequence[ClassShare]) -> tuple[int, ...]:
    """Return the sorted ids of the classes listed by name or id, or of all but the background."""
    if given is None:
        return tuple(entry["id"] for entry in classes if entry["name"] != UNTINTED)
    known = {str(entry["id"]): entry["id"] for entry in classes} | {entry["name"]: entry["id"] for entry in classes}
    names = [name.strip() for name in given.split(",")]
    if any(name not in known for name in names):
        raise Problem("invalid_request", f"classes: names or ids of {', '.join(entry['name'] for entry in classes)}.")
    return tuple(sorted({known[name] for name in names}))
