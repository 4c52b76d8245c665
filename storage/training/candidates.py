"""Candidates: model versions that a run has made, and their promotion to `stable`."""

from dataclasses import dataclass
from typing import Any

from storage.connection import Storage
from storage.models import Alias, AliasMoved
from storage.problems import Problem
from storage.training import verdicts

PASSED = "passed"


@dataclass(frozen=True)
class Candidate:
    """`verdict`: the public part of the gate's newest one; None before the gate has judged."""

    version: str
    dataset: str
    start: str
    run: str
    published_ms: int
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None

    @property
    def outcome(self) -> str:
        return str(self.verdict["outcome"]) if self.verdict else "not judged"


def listing(storage: Storage) -> list[Candidate]:
    """All candidates, the newest first."""
    found = [candidate for version in storage.models.versions() if (candidate := find(storage, version))]
    return sorted(found, key=lambda candidate: candidate.published_ms, reverse=True)


def find(storage: Storage, version: str) -> Candidate | None:
    """None for a version that no run has made."""
    card = storage.models.card(version)
    training = card.get("training", {}) if card else {}
    if card is None or "run" not in training:
        return None
    return Candidate(
        version, training["dataset"], training["start"], training["run"], storage.models.published_ms(version),
        card["metrics"], verdicts.newest(storage.objects, version),
    )  # fmt: skip


def newest_passed(storage: Storage, stable: str) -> str:
    """The newest candidate whose newest verdict is that it may replace `stable`; "" if there is none."""
    rulings = verdicts.rulings(storage.objects)
    passed = [version for version, ruling in rulings.items() if (ruling.outcome, ruling.stable) == (PASSED, stable)]
    found = [candidate for version in passed if (candidate := find(storage, version))]
    return max(found, key=lambda candidate: candidate.published_ms).version if found else ""


def promote(storage: Storage, version: str) -> None:
    """Point `stable` at a candidate that has passed the gate against the version that is stable now.

    Raises Problem `unknown_model`, or `gate_not_passed` with the reasons.
    """
    candidate = find(storage, version)
    if candidate is None:
        raise Problem("unknown_model", f"{version} is not a candidate: see `segue candidates list`.")
    stable = storage.models.aliases(fresh=True).get(Alias.STABLE, "")
    if candidate.verdict is None:
        raise Problem("gate_not_passed", f"The gate has not judged {version}: run `segue gate {version}`.")
    if candidate.outcome != PASSED:
        raise Problem(
            "gate_not_passed", f"The gate's verdict on {version} is {candidate.outcome}. {_reasons(candidate)}"
        )
    if stable not in (candidate.verdict["stable"], version):
        raise Problem(
            "gate_not_passed",
            f"The gate compared {version} with {candidate.verdict['stable']}; {stable} is stable now: "
            f"run `segue gate {version}`.",
        )
    try:
        storage.models.point(Alias.STABLE, version, instead_of=candidate.verdict["stable"])
    except AliasMoved as error:  # another promotion was quicker
        raise Problem("gate_not_passed", f"{error}: run `segue gate {version}`.") from error


def _reasons(candidate: Candidate) -> str:
    checks = candidate.verdict["checks"] if candidate.verdict else []
    return " ".join(
        f"{check['name']}: {check['reason']}." for check in checks if check["outcome"] not in (PASSED, "skipped")
    )
