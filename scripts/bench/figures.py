"""Rows of figures and the arithmetic on them. Imports nothing from Segue."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CONFIDENCE = statistics.NormalDist().inv_cdf(0.975)  # half the width of a 95 % interval, in standard errors


@dataclass(frozen=True)
class Row:
    """The figures of one measurement.

    `figures`: name → number. A name is a quantity (`images_per_s`) or one of a group (`cpu_ms.web`).
    """

    leg: str
    name: str
    figures: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        groups: dict[str, list[str]] = {}
        for key, value in self.figures.items():
            group, _, part = key.partition(".")
            groups.setdefault(group, []).append(f"{part} {value:.4g}".strip())
        lines = [f"  {group:<14} " + ", ".join(values) for group, values in groups.items()]
        return "\n".join([f"{self.leg}: {self.name}", *lines])


@dataclass(frozen=True)
class Slope:
    """The slope of a regression line with the half width of its 95 % interval."""

    value: float
    margin: float

    def reaches(self, least: float) -> bool:
        """Whether the slope is at least `least` and its interval excludes 0."""
        return self.value >= least and abs(self.value) > self.margin

    def __str__(self) -> str:
        return f"{self.value:+.3f}, 95 % {self.value - self.margin:+.3f} to {self.value + self.margin:+.3f}"


def group(name: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}.{part}": value for part, value in values.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The percentile by nearest rank. `share`: 0.95 for p95."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of `seconds`, in milliseconds; empty without values."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99} if seconds else {}
    return group(name, {part: percentile(seconds, share) * 1000 for part, share in shares.items()})


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """The least-squares slope of ys over xs. Raises ValueError for fewer than three points or equal xs."""
    if len(xs) < 3:
        raise ValueError("a slope with an interval needs at least three points")
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if not spread:
        raise ValueError("all points have the same x")
    value = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return Slope(value, CONFIDENCE * math.sqrt(rest / (len(xs) - 2) / spread))


def save(path: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def load(path: Path) -> list[Row]:
    return [Row(**row) for row in json.loads(path.read_text())["rows"]]


def compare(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """One line for each figure that both runs contain: before, after and their ratio."""
    old = {(row.leg, row.name): row.figures for row in before}
    lines = []
    for row in after:
        known = old.get((row.leg, row.name), {})
        shared = {key: (known[key], value) for key, value in row.figures.items() if key in known}
        if shared:
            lines.append(f"{row.leg}: {row.name}")
        lines += [f"  {key:<24}{a:>12.4g}{b:>12.4g}{ratio(a, b):>8}" for key, (a, b) in shared.items()]
    return lines


def ratio(before: float, after: float) -> str:
    return f"{after / before:.2f}" if before else "–" if after else "1.00"
