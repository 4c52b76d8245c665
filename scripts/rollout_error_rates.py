"""How often a rollout errs, and how soon it finds a regression, by simulation.

python scripts/rollout_error_rates.py                  # 1,000 rollouts a row, some 10 minutes
python scripts/rollout_error_rates.py --rollouts 100

Decides with the rules of storage/rollouts/ after every 50 jobs, and prints Markdown tables for
docs/decisions/0034-rollouts.md.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from statistics import NormalDist

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from rollouts import STABLE, Rates, simulated

from storage.rollouts.rollout import Policy, State

POLICY = Policy(step_s=0)
# The canary sits exactly at the limits: the hardest case in which it must not be rolled back.
AT_THE_LIMITS = replace(STABLE, slower=0.5, differs=POLICY.differing)
PLANTED = {
    "2 / 5 / 20 % of jobs fail": [replace(STABLE, fails=rate) for rate in (0.02, 0.05, 0.2)],
    "masks differ on 10 / 20 / 50 % of photos": [replace(STABLE, differs=rate) for rate in (0.1, 0.2, 0.5)],
    "60 / 75 / 95 % of micro-batches too slow": [replace(STABLE, slower=rate) for rate in (0.6, 0.75, 0.95)],
    "2 / 3 / 10 times as many bad verdicts": [replace(STABLE, bad=rate) for rate in (0.02, 0.03, 0.1)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=1000, help="simulated rollouts in each row")
    number = parser.parse_args().rollouts
    for line in (*equal(number), *planted(number // 5)):
        print(line, flush=True)


def equal(number: int) -> Iterator[str]:
    yield "| canary | rollouts | rolled back | promoted | median jobs until promotion |"
    yield "|---|---|---|---|---|"
    for name, rates in (("like stable", STABLE), ("like stable, but exactly at two limits", AT_THE_LIMITS)):
        ends = _ends(rates, number)
        back, promoted = (
            sum(state is wanted for state, _, _ in ends) for wanted in (State.ROLLED_BACK, State.PROMOTED)
        )
        jobs = [jobs for state, jobs, _ in ends if state is State.PROMOTED]
        median = f"{np.median(jobs):,.0f}" if jobs else "-"
        yield f"| {name} | {number} | {100 * back / number:.1f} % | {100 * promoted / number:.1f} % | {median} |"


def planted(number: int) -> Iterator[str]:
    yield "\n| regression | rolled back | promoted | median jobs until rollback | canary's jobs | fixed-sample test |"
    yield "|---|---|---|---|---|---|"
    for name, sizes in PLANTED.items():
        found = [_ends(rates, number) for rates in sizes]
        backs = [[end for end in ends if end[0] is State.ROLLED_BACK] for ends in found]
        promoted = [sum(end[0] is State.PROMOTED for end in ends) / number for ends in found]
        jobs = [f"{np.median([end[1] for end in back]):,.0f}" if back else "-" for back in backs]
        served = [f"{np.median([end[2] for end in back]):,.0f}" if back else "-" for back in backs]
        fixed = [f"{_fixed(rates):,}" for rates in sizes]
        yield (
            f"| {name} | {' / '.join(f'{100 * len(back) / number:.0f}' for back in backs)} % "
            f"| {' / '.join(f'{100 * share:.0f}' for share in promoted)} % | {' / '.join(jobs)} "
            f"| {' / '.join(served)} | {' / '.join(fixed)} |"
        )


def _ends(rates: Rates, number: int) -> list[tuple[State, int, float]]:
    with Pool() as pool:
        return pool.starmap(_one, [(seed, rates) for seed in range(number)], chunksize=5)


def _one(seed: int, rates: Rates) -> tuple[State, int, float]:
    return simulated(np.random.default_rng(seed), rates, POLICY)


def _fixed(rates: Rates) -> int:
    """Jobs of a one-sided test of fixed size, level 1 %, power 50 %, at the first step's share, of what differs most.

    With a power of 50 %, it finds the regression as often as the sequential test does within its median.
    """
    share, shadow = POLICY.steps[0], POLICY.shadow
    z = NormalDist().inv_cdf(0.99)
    tests = (
        (STABLE.fails, rates.fails, share, True), (STABLE.bad, rates.bad, share, True),
        (0.5, rates.slower, 0.02, False), (POLICY.differing, rates.differs, shadow, False),
    )  # fmt: skip
    sizes = []
    for null, planted, part, compared in tests:
        if planted > null:
            pooled = share * planted + (1 - share) * null if compared else null
            variance = pooled * (1 - pooled) * (1 / part + 1 / (1 - part) if compared else 1 / part)
            sizes.append(math.ceil(variance * (z / (planted - null)) ** 2))
    return min(sizes)


if __name__ == "__main__":
    main()
