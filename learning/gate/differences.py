"""The checks that compare masks: on average, by class, by group, on corrections, and between engines.

`alpha` is the probability that a check passes a candidate that does not deserve it. The gate passes only a candidate
that passes every check, so `alpha` bounds the error rate of the gate too.
See docs/decisions/0030-the-statistics-of-the-gate.md.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from learning.gate.bootstrap import Bounds, bounds, standard_error
from learning.gate.limits import Limits
from learning.gate.pairs import Floats, Pairs, mean_over_classes
from learning.gate.power import detectable, missing
from learning.gate.swaps import p_better, p_classes_worse, p_groups_worse
from learning.gate.verdict import Check, GateOutcome

ENOUGH = "though the photos would suffice for one that is"
BOOTSTRAP = "paired bootstrap-t over photos, one-sided lower bound"


@dataclass(frozen=True)
class Finding:
    """What a check finds. `needs`: about how many more photos would decide it.

    `worse`: whether the candidate is shown to be worse, rather than merely not shown to be as good.
    """

    outcome: GateOutcome
    needs: int | None = None
    worse: bool = False


def points(fraction: float) -> str:
    number = f"{100 * fraction:g}"
    return f"{number} point{'' if number == '1' else 's'}"


def not_inferior(pairs: Pairs, alpha: float, limits: Limits) -> Check:
    names = ("not_inferior", "stable", "the gate photos")
    return _on_average(pairs, limits.margin, alpha, limits, names)


def engines_agree(pairs: Pairs, alpha: float, limits: Limits) -> Check:
    """`pairs`: the float engine's results before, the int8 engine's after."""
    names = ("engines_agree", "its float engine", "the gate photos, int8 engine against float")
    return _on_average(pairs, limits.engine_margin, alpha, limits, names)


def _on_average(pairs: Pairs, margin: float, alpha: float, limits: Limits, names: tuple[str, str, str]) -> Check:
    """`names`: of the check, of what it compares with, of the photos."""
    name, other, photos = names
    found = _few(len(pairs), margin, alpha, limits)
    figures: dict[str, Any] = {}
    if found is None:
        mean, _ = bounds(pairs, alpha, limits.refusal)
        found, figures = _shown(mean, len(pairs), margin, alpha, limits), {"mean_iou": mean.to_dict()}
    reason = {
        GateOutcome.PASSED: f"not worse than {other} by more than {points(margin)}",
        GateOutcome.FAILED: f"worse than {other}" if found.worse else f"not shown to be as good as {other}, {ENOUGH}",
        GateOutcome.UNDECIDED: f"too few photos to show that it is as good as {other}",
    }[found.outcome]
    required = f"mean IoU on {photos}: lower bound of the difference ≥ -{points(margin)}"
    return Check(name, BOOTSTRAP, required, found.outcome, reason, found.needs, figures)


def _few(photos: int, distance: float, alpha: float, limits: Limits) -> Finding | None:
    """Undecided if the photos are too few for a bound."""
    if photos >= limits.fewest_photos:
        return None
    error = limits.spread / max(1, photos) ** 0.5
    estimated = missing(max(1, photos), error, distance, alpha, limits.power)
    return Finding(GateOutcome.UNDECIDED, max(limits.fewest_photos - photos, estimated))


def _shown(bound: Bounds, photos: int, margin: float, alpha: float, limits: Limits) -> Finding:
    """Whether the difference is at least -`margin`."""
    if bound.low >= -margin:
        return Finding(GateOutcome.PASSED)
    if bound.high < -margin:
        return Finding(GateOutcome.FAILED, worse=True)
    return _unshown(missing(photos, bound.error, margin, alpha, limits.power))


def _unshown(needs: int) -> Finding:
    """Undecided if even a good candidate would need more photos; otherwise failed."""
    return Finding(GateOutcome.UNDECIDED, needs) if needs else Finding(GateOutcome.FAILED)


def better_on_corrections(pairs: Pairs, alpha: float, limits: Limits) -> Check:
    """The check that an equal candidate passes with a probability of at most `alpha`, however few the photos."""
    found = _few(len(pairs), limits.gain, alpha, limits)
    figures: dict[str, Any] = {}
    if found is None:
        mean, _ = bounds(pairs, alpha, limits.refusal)
        p = p_better(pairs, alpha)
        figures = {"mean_iou": mean.to_dict(), "p": p}
        found = _gained(mean, p, len(pairs), alpha, limits)
    reason = {
        GateOutcome.PASSED: "better on the held-out corrections",
        GateOutcome.FAILED: f"{'worse' if found.worse else 'not shown to be better'} on the held-out corrections",
        GateOutcome.UNDECIDED: "too few held-out corrections to show that it is better",
    }[found.outcome]
    statistic = f"exact swap test of paired photos, and {BOOTSTRAP}"
    required = f"mean IoU on the held-out corrections: p ≤ {alpha:.2g}, and lower bound of the difference > 0"
    return Check("better_on_corrections", statistic, required, found.outcome, reason, found.needs, figures)


def _gained(mean: Bounds, p: float, photos: int, alpha: float, limits: Limits) -> Finding:
    if p <= alpha and mean.low > 0:
        return Finding(GateOutcome.PASSED)
    if mean.high < 0:
        return Finding(GateOutcome.FAILED, worse=True)
    return _unshown(missing(photos, mean.error, limits.gain, alpha, limits.power))


def classes(pairs: Pairs, names: list[str], alpha: float, limits: Limits) -> Check:
    """Passes if every class is shown not to be worse by more than its margin; each has its own bound of level `alpha`.

    A candidate with one class worse than that passes with a probability of at most `alpha`, however many classes there
    are, because all must pass (an intersection-union test: Berger 1982).
    """
    worse, held = p_classes_worse(pairs, limits.refusal), pairs.photos_of_classes()
    _, each = bounds(pairs, alpha, limits.refusal)
    found = {
        name: _class(bound, p, int(photos), alpha, limits)
        for name, bound, p, photos in zip(names, each, worse, held, strict=True)
        if name not in limits.exempt_classes
    }
    figures = {
        name: {**bound.to_dict(), "p_worse": _number(p), "photos": int(photos)}
        for name, bound, p, photos in zip(names, each, worse, held, strict=True)
    }
    outcome, concerned = _worst(found)
    worse_ones = [name for name in concerned if found[name].worse]
    reason = {
        GateOutcome.PASSED: f"no class is worse by more than {points(limits.class_margin)}",
        GateOutcome.FAILED: f"worse in the {_listed('class', worse_ones)}"
        if worse_ones
        else f"not shown to be as good in the {_listed('class', concerned)}, {ENOUGH}",
        GateOutcome.UNDECIDED: f"too few photos to show that it is as good in the {_listed('class', concerned)}",
    }[outcome]
    statistic = f"{BOOTSTRAP}, of each class; swap test over all classes together for a refusal"
    required = f"IoU of each class on the gate photos: lower bound of the difference ≥ -{points(limits.class_margin)}"
    needs = max((found[name].needs or 0 for name in concerned), default=0) or None
    return Check("classes", statistic, required, outcome, reason, needs, figures)


def _class(bound: Bounds, p_worse: float, photos: int, alpha: float, limits: Limits) -> Finding:
    if p_worse <= limits.refusal and bound.value < -limits.class_margin:
        return Finding(GateOutcome.FAILED, worse=True)
    if bound.low >= -limits.class_margin and photos >= limits.fewest_photos:
        return Finding(GateOutcome.PASSED)
    return _few(photos, limits.class_margin, alpha, limits) or _unshown(
        missing(photos, bound.error, limits.class_margin, alpha, limits.power)
    )


def _worst(found: dict[str, Finding]) -> tuple[GateOutcome, list[str]]:
    """The outcome of all classes together, and the names of the classes that determine it."""
    for outcome in (GateOutcome.FAILED, GateOutcome.UNDECIDED):
        if concerned := [name for name, finding in found.items() if finding.outcome is outcome]:
            return outcome, concerned
    return GateOutcome.PASSED, []


def groups(pairs: Pairs, limits: Limits) -> Check:
    """Fails if a group is shown to be worse. It proves nothing about the other groups: they have too few photos."""
    statistic = "swap test over all groups together (Westfall & Young)"
    required = f"mean IoU of each group of gate photos: not shown to be worse, by {points(limits.group_margin)} or more"
    rows = pairs.groups(limits.smallest_group)
    if len(rows) < 2:
        reason = f"the gate photos do not form two groups of {limits.smallest_group} photos or more"
        return Check("groups", statistic, required, GateOutcome.SKIPPED, reason)
    parts = [pairs.subset(one) for one in rows.values()]
    each = [float(mean_over_classes(part.differences())) for part in parts]
    worse = p_groups_worse(pairs, list(rows.values()), limits.refusal)
    figures = {
        name: {
            "value": round(value, 5),
            "p_worse": _number(p),
            "photos": len(part),
            "shows": _shows(part, len(rows), limits),
        }
        for name, value, p, part in zip(rows, each, worse, parts, strict=True)
    }
    failed = [
        name
        for name, value, p in zip(rows, each, worse, strict=True)
        if p <= limits.refusal and value <= -limits.group_margin
    ]
    outcome = GateOutcome.FAILED if failed else GateOutcome.PASSED
    reason = (
        f"worse in the {_listed('group', failed)}" if failed else f"none of {len(rows)} groups is shown to be worse"
    )
    return Check("groups", statistic, required, outcome, reason, figures=figures)


def _shows(part: Pairs, groups: int, limits: Limits) -> float | None:
    """The smallest worsening that a group of this size and spread would show. None for a single photo."""
    if len(part) < 2:
        return None
    spread = standard_error(part) * len(part) ** 0.5
    return round(detectable(len(part), spread, limits.refusal / groups, limits.power), 5)


def _listed(noun: str, names: list[str]) -> str:
    plural = {"class": "classes", "group": "groups"}[noun]
    return f"{noun if len(names) == 1 else plural} {', '.join(names)}"


def _number(value: float | Floats) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
