"""Judges whether a candidate version may replace the stable one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from learning.gate import differences
from learning.gate.bootstrap import bounds
from learning.gate.ledger import SMALLEST_ALPHA
from learning.gate.limits import Limits
from learning.gate.pairs import Pairs
from learning.gate.power import Power, power
from learning.gate.provenance import Splits, provenance
from learning.gate.structure import cost, usable
from learning.gate.verdict import Check, GateOutcome, Verdict
from model.card import Card
from model.data import Example
from model.engines import ENGINES, installed
from model.evaluation.photos import BINS, Judged
from model.evaluation.photos import judge as judge_photos
from model.segmenter import Segmenter


def judge(
    candidate: Path, stable: Path, data: Path, alpha: float, limits: Limits | None = None, *,
    beat: Callable[[], None] = lambda: None,
) -> Verdict:  # fmt: skip
    """`candidate`, `stable`: folders of model versions; `data`: of a data set version, for `model.data.examples`.

    `alpha`: the probability with which this candidate may pass undeservedly, from the ledger.
    `beat`: called after each check.

    Nothing is measured if the candidate cannot run or was trained on photos that judge it. The same inputs give the
    same verdict, except for the measured costs. Raises ValueError if `alpha` cannot be used, or without gate photos;
    FileNotFoundError if stable or a list of photos is missing.
    """
    limits = limits or Limits()
    if not SMALLEST_ALPHA <= alpha <= limits.refusal:
        raise ValueError(f"alpha is {alpha:.2g}, not from {SMALLEST_ALPHA} to {limits.refusal}")
    splits = Splits.of(data)
    if not splits.gate:
        raise ValueError(f"{data} has no gate photos")
    expected = power_of(splits, alpha, limits)
    checks, reported = [usable(candidate, stable, data)], {}
    if checks[-1].outcome is GateOutcome.PASSED:
        checks.append(provenance(candidate, splits))
    if checks[-1].outcome is GateOutcome.PASSED:
        for check in _measured(candidate, stable, splits, alpha, limits):
            beat()
            checks.append(check)
        reported = _reported(candidate, stable, splits, limits)
    return Verdict(_id(candidate), Card.load(stable).id, alpha, tuple(expected.lines), tuple(checks), reported)


def _id(candidate: Path) -> str:
    try:
        return Card.load(candidate).id
    except (OSError, ValueError):
        return candidate.name


def power_of(splits: Splits, alpha: float, limits: Limits) -> Power:
    return power(len(splits.gate), len(splits.held_out), alpha, limits)


def _measured(candidate: Path, stable: Path, splits: Splits, alpha: float, limits: Limits) -> Iterator[Check]:
    new, old = Segmenter(candidate), Segmenter(stable)
    gate = compared(old, new, splits.gate)
    yield differences.not_inferior(gate, alpha, limits)
    yield differences.classes(gate, [label.name for label in new.card.labels], alpha, limits)
    yield differences.groups(gate, limits)
    yield differences.better_on_corrections(compared(old, new, splits.held_out), alpha, limits)
    yield _engines(candidate, new, splits.gate, alpha, limits)
    yield cost(candidate, stable, limits)


def compared(old: Segmenter, new: Segmenter, photos: list[Example]) -> Pairs:
    """Both on the same pixels: at the networks' input size, or at the photos' own if the networks differ in it."""
    own_size = old.card.input_size != new.card.input_size
    return Pairs.of(*(_judged(segmenter, photos, own_size) for segmenter in (old, new)))


def _judged(segmenter: Segmenter, photos: list[Example], own_size: bool) -> Judged:
    if photos:
        return judge_photos(segmenter, photos, own_size)
    classes = len(segmenter.card.labels)
    return Judged([], np.zeros((0, classes, classes), np.int64), np.zeros(0), np.zeros((BINS, 3)))


def _engines(candidate: Path, new: Segmenter, photos: list[Example], alpha: float, limits: Limits) -> Check:
    kind = ENGINES["tensorflow"]
    if "tensorflow" not in installed():
        reason = f"{kind.title} is not installed here"
        required = f"mean IoU of int8 against float: not worse by more than {differences.points(limits.engine_margin)}"
        return Check("engines_agree", differences.BOOTSTRAP, required, GateOutcome.SKIPPED, reason)
    return differences.engines_agree(compared(Segmenter(candidate, "tensorflow"), new, photos), alpha, limits)


def _reported(candidate: Path, stable: Path, splits: Splits, limits: Limits) -> dict[str, Any]:
    """The difference on the test photos, with two-sided 90 % bounds at the default level."""
    if len(splits.test) < limits.fewest_photos:
        return {}
    pairs = compared(Segmenter(stable), Segmenter(candidate), splits.test)
    mean, _ = bounds(pairs, limits.refusal, limits.refusal)
    return {"test": {"photos": len(pairs), "mean_iou": mean.to_dict()}}
