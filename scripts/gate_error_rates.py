"""How often the gate errs, by simulation on photos measured with two versions.

SEGUE_TRAINING_DATA=... python scripts/gate_error_rates.py             # 2,000 gates a row, some 20 minutes
SEGUE_TRAINING_DATA=... python scripts/gate_error_rates.py --gates 200

Draws gates of n photos from the gate photos of the data, measured with pets/2 and pets/3, and prints Markdown tables
for docs/decisions/0030-the-statistics-of-the-gate.md.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from gates import drawn, measured, ruined, swapped

from learning.gate.bootstrap import bounds
from learning.gate.limits import Limits
from learning.gate.pairs import Pairs, iou_differences, mean_over_classes
from learning.gate.swaps import p_better, p_classes_worse, p_groups_worse
from model.data import examples
from model.segmenter import Segmenter

VERSIONS = Path("model/weights/pets")
PHOTOS, ALPHAS, ALPHA = (20, 60, 200), (0.05, 0.025, 0.005), 0.025
GAIN_SHARES = (0.16, 0.31, 0.63, 1.0)  # of photos whose two results keep their order
RESAMPLES = 2000
Draw = Callable[[np.random.Generator, int], Pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument("--gates", type=int, default=2000, help="simulated gates in each row")
    options = parser.parse_args()
    before, after = (Segmenter(VERSIONS / number) for number in ("2", "3"))
    pairs = measured(before, after, examples(options.data, "gate"))
    for table in (equal, planted, skewed, refusals):
        for line in table(pairs, options.gates):
            print(line, flush=True)


def equal(pairs: Pairs, gates: int) -> Iterator[str]:
    """The single statistics are costly, so fewer gates show them."""
    yield "\n| equal candidates: photos | alpha | pass | swap test alone | bootstrap-t bound | percentile bound |"
    yield "|---|---|---|---|---|---|"
    for count in PHOTOS:
        for alpha in ALPHAS:
            made = _gates(lambda rng, count: swapped(rng, drawn(rng, pairs, count)), count, gates)
            shown = [p_better(gate, alpha) <= alpha for gate in made]
            passed = [swap and _low(gate, alpha) > 0 for swap, gate in zip(shown, made, strict=True)]
            some = made[: gates // 5]
            low = [_low(gate, alpha) > 0 for gate in some]
            percentile = [_percentile(gate, alpha) > 0 for gate in some]
            rates = " | ".join(f"{100 * np.mean(one):.1f} %" for one in (passed, shown, low, percentile))
            yield f"| {count} | {alpha} | {rates} |"


def planted(pairs: Pairs, gates: int) -> Iterator[str]:
    gains = [share * float(mean_over_classes(pairs.differences())) for share in GAIN_SHARES]
    shown = " | ".join(f"{100 * gain:.1f} points" for gain in gains)
    yield f"\n| better candidates that pass, alpha {ALPHA}: photos | {shown} |"
    yield "|---" * (len(gains) + 1) + "|"
    for count in PHOTOS:
        rates = [_passing(_partly(pairs, share), count, gates // 10) for share in GAIN_SHARES]
        yield f"| {count} | " + " | ".join(f"{100 * rate:.0f} %" for rate in rates) + " |"


def _partly(pairs: Pairs, share: float) -> Draw:
    """A share of the photos keeps the order of the versions, the others are swapped by coin."""

    def draw(rng: np.random.Generator, count: int) -> Pairs:
        ordered = drawn(rng, pairs, count)
        mixed, kept = swapped(rng, ordered), (rng.random(count) < share)[:, None, None]
        return Pairs(
            mixed.names, np.where(kept, ordered.before, mixed.before), np.where(kept, ordered.after, mixed.after)
        )

    return draw


def skewed(pairs: Pairs, gates: int) -> Iterator[str]:
    """Candidates that are better on most photos and ruin so many that they are equal on average: not exchangeable."""
    spoilt, share = ruined(pairs)
    yield f"\n| better on most photos, {100 * share:.1f} % ruined, equal on average | pass, alpha {ALPHA} |"
    yield "|---|---|"
    for count in PHOTOS:
        passing = _passing(lambda rng, count: drawn(rng, spoilt, count), count, gates // 2)
        yield f"| {count} | {100 * passing:.1f} % |"


def _passing(draw: Draw, count: int, gates: int) -> float:
    made = _gates(draw, count, gates)
    return float(np.mean([p_better(gate, ALPHA) <= ALPHA and _low(gate, ALPHA) > 0 for gate in made]))


def _gates(draw: Draw, count: int, gates: int) -> list[Pairs]:
    rng = np.random.default_rng(count)
    return [draw(rng, count) for _ in range(gates)]


def _low(pairs: Pairs, alpha: float) -> float:
    return bounds(pairs, alpha, 0.05)[0].low


def _percentile(pairs: Pairs, alpha: float) -> float:
    counts = np.random.default_rng(0).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), RESAMPLES)
    resampled = iou_differences([counts @ side for side in pairs.sides()])
    return float(np.quantile(mean_over_classes(resampled), alpha))


def refusals(pairs: Pairs, gates: int) -> Iterator[str]:
    rng, level, limits = np.random.default_rng(1), Limits().refusal, Limits()
    found = []
    for _ in range(gates // 4):
        gate = swapped(rng, pairs)
        groups = list(gate.groups(limits.smallest_group).values())
        found.append((np.nanmin(p_classes_worse(gate, level)), p_groups_worse(gate, groups, level).min()))
    classes, groups = (np.array(found) <= level).mean(0)
    yield "\n| equal candidates shown to be worse in one of 3 classes / one of the groups, level 0.05 |"
    yield "|---|"
    yield f"| {100 * classes:.1f} % / {100 * groups:.1f} % |"


if __name__ == "__main__":
    main()
