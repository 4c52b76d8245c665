"""The gate's verdict on a candidate: a public part for those who train, a sealed one for the record.

The public part names outcomes and reasons. It contains no score of the locked photos, because choosing
candidates by these scores amounts to training on the photos (Dwork et al. 2015, doi:10.1126/science.aaa9375).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

_SEALED = "figures"


class GateOutcome(StrEnum):
    """`undecided`: there are too few photos to tell. `skipped`: a check that does not apply, for the named reason."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """`statistic`: its name; `required`, `reason`: a sentence; `needs`: about how many more photos would decide it.

    `figures`: for the sealed part only.
    """

    name: str
    statistic: str
    required: str
    outcome: GateOutcome
    reason: str
    needs: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def public(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_dict().items() if name != _SEALED}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Check":
        return cls(**{**entry, "outcome": GateOutcome(entry["outcome"])})

    def line(self) -> str:
        more = f" It needs about {self.needs} more photos." if self.needs else ""
        return f"{self.outcome:10} {self.name}: {self.reason}.{more}"


@dataclass(frozen=True)
class Verdict:
    """`power`: sentences on what the photos can show, stated before anything was measured.

    `reported`: figures that decide nothing, sealed.
    """

    candidate: str
    stable: str
    alpha: float
    power: tuple[str, ...]
    checks: tuple[Check, ...]
    reported: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> GateOutcome:
        """Passed only if every check passed or was skipped; one that failed outweighs one that is undecided."""
        found = {check.outcome for check in self.checks}
        return next((one for one in (GateOutcome.FAILED, GateOutcome.UNDECIDED) if one in found), GateOutcome.PASSED)

    def to_dict(self) -> dict[str, Any]:
        """Everything, the sealed figures included, as JSON."""
        return {
            **self._head(),
            "checks": [check.to_dict() for check in self.checks],
            "reported": self.reported,
        }

    def public(self) -> dict[str, Any]:
        """What those who train may see, as JSON."""
        return {**self._head(), "checks": [check.public() for check in self.checks]}

    def _head(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate,
            "stable": self.stable,
            "outcome": self.outcome,
            "alpha": self.alpha,
            "power": list(self.power),
        }

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Verdict":
        """From the JSON of `to_dict` or of `public`. Raises KeyError or TypeError if it is not one."""
        checks = tuple(Check.from_dict(one) for one in entry["checks"])
        power = tuple(entry["power"])
        return cls(entry["candidate"], entry["stable"], entry["alpha"], power, checks, entry.get("reported", {}))

    def lines(self) -> Iterator[str]:
        """The public part as text."""
        yield f"{self.candidate} against {self.stable}: {self.outcome}"
        yield from self.power
        yield from (check.line() for check in self.checks)
