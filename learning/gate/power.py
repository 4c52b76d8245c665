"""How many photos are needed to show a difference, and which difference a number of photos shows."""

from dataclasses import dataclass
from math import ceil, log10, sqrt
from statistics import NormalDist
from typing import Any

from learning.gate.limits import Limits

_quantile = NormalDist().inv_cdf


def reach(alpha: float, power: float) -> float:
    """The distance in standard errors that a test of level `alpha` shows with probability `power`."""
    return _quantile(1 - alpha) + _quantile(power)


def detectable(photos: int, spread: float, alpha: float, power: float) -> float:
    """The smallest difference that a number of photos shows. `spread`: see `Limits`."""
    return reach(alpha, power) * spread / sqrt(photos)


def missing(photos: int, error: float, distance: float, alpha: float, power: float) -> int:
    """About how many more photos are needed to show a difference that is `distance` away from
    the value to rule out; 0 if these suffice.

    `error`: the standard error with the photos at hand. Rounded up to two digits.
    """
    wanted = photos * (reach(alpha, power) * error / distance) ** 2 - photos
    return 0 if wanted <= 0 else _rounded_up(wanted)


def _rounded_up(number: float) -> int:
    unit = int(10 ** max(0, ceil(log10(number)) - 2))
    return ceil(number / unit) * unit


@dataclass(frozen=True)
class Power:
    """What the photos can show, computed before anything is measured.

    `gate`, `corrections`: the smallest differences of mean IoU that these photos show; None without photos.
    """

    alpha: float
    gate_photos: int
    correction_photos: int
    gate: float | None
    corrections: float | None
    power: float

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def lines(self) -> list[str]:
        named = (
            ("gate photos", self.gate_photos, self.gate),
            ("held-out corrections", self.correction_photos, self.corrections),
        )
        return [
            f"{photos} {name} show a difference of {100 * shown:.1f} points with {self.power:.0%} probability "
            f"at an alpha of {self.alpha:.2g}"
            if shown is not None
            else f"there are no {name}"
            for name, photos, shown in named
        ]


def power(gate_photos: int, correction_photos: int, alpha: float, limits: Limits) -> Power:
    gate, corrections = (
        round(detectable(photos, limits.spread, alpha, limits.power), 5) if photos else None
        for photos in (gate_photos, correction_photos)
    )
    return Power(alpha, gate_photos, correction_photos, gate, corrections, limits.power)
