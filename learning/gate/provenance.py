"""Whether a candidate was trained on photos that judge it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from learning.gate.verdict import Check, GateOutcome
from model.card import sha256
from model.data import MANIFEST, Example, duplicates, examples, examples_if_listed

STATISTIC = "SHA-256 of the photos; correlation of 16 x 16 grey thumbnails, mirrored too"
REQUIRED = "every training photo is in the training list of the data version, and none shows what a judging photo shows"


@dataclass(frozen=True)
class Splits:
    """The photos of a data set version. `test` is only reported; it decides nothing."""

    train: list[Example]
    gate: list[Example]
    held_out: list[Example]
    test: list[Example]

    @classmethod
    def of(cls, root: Path) -> "Splits":
        """Raises FileNotFoundError without a list for `train` or `gate`."""
        return cls(
            examples(root, "train"),
            examples(root, "gate"),
            examples_if_listed(root, "held_out"),
            examples_if_listed(root, "test"),
        )


def provenance(candidate: Path, splits: Splits) -> Check:
    try:
        trained = _trained_on(candidate)
    except (OSError, ValueError, TypeError, KeyError):
        return _check(f"its {MANIFEST} does not list the photos that it was trained on")
    return _check(next(_faults(trained, splits), None), len(trained))


def _trained_on(candidate: Path) -> set[str]:
    """The SHA-256 of the candidate's training photos."""
    listed = {str(photo["sha256"]) for photo in json.loads((candidate / MANIFEST).read_text())["photos"]}
    if not listed:
        raise ValueError("no photos")
    return listed


def _faults(trained: set[str], splits: Splits) -> Iterator[str]:
    judging = {"gate": splits.gate, "held-out": splits.held_out, "test": splits.test}
    for name, photos in judging.items():
        if shared := trained & {sha256(one.photo) for one in photos}:
            yield f"trained on {_count(len(shared), 'photo')} of the {name} set"
    known = {sha256(one.photo): one for one in splits.train}
    if unknown := trained - set(known):
        yield f"trained on {_count(len(unknown), 'photo')} that the data version does not hold for training"
    used = [known[digest] for digest in sorted(trained & set(known))]
    if twins := {name for name, _ in duplicates(used, [*splits.gate, *splits.held_out])}:
        yield f"trained on {_count(len(twins), 'photo')} with a twin in the gate or held-out set"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check(fault: str | None, photos: int = 0) -> Check:
    outcome = GateOutcome.FAILED if fault else GateOutcome.PASSED
    reason = fault or f"none of its {_count(photos, 'training photo')} judges it"
    return Check("provenance", STATISTIC, REQUIRED, outcome, reason)
