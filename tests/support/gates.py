"""Photos measured with two versions, made up or drawn from measured ones, and what a rate of errors allows."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from learning.gate.pairs import Pairs, mean_over_classes
from model.data import Example
from model.evaluation.photos import judge
from model.segmenter import Segmenter

PIXELS = 4000


def made_up(seed: int, count: int, classes: int = 3, worse: dict[int, float] | None = None, rare: float = 1.0) -> Pairs:
    """Two versions with errors of like size. `worse`: class → how many more of its pixels the second one gets wrong.

    The last class occurs in a share `rare` of the photos. The names tell four groups apart.
    """
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(classes, 2.0), count)
    shares[rng.random(count) >= rare, -1] = 0
    truth = np.round(PIXELS * shares).astype(np.int64)
    hard = rng.gamma(2.0, 0.06, count)[:, None].repeat(classes, 1)
    after = hard + np.array([(worse or {}).get(one, 0.0) for one in range(classes)])
    names = tuple(f"{'abcd'[number % 4]}_{number}" for number in range(count))
    return Pairs(names, _confusion(rng, truth, hard), _confusion(rng, truth, after))


def _confusion(rng: np.random.Generator, truth: NDArray[np.int64], wrong: NDArray[np.float64]) -> NDArray[np.int64]:
    """Each class loses about a share `wrong` of its pixels in each photo, to the next class."""
    classes = truth.shape[1]
    lost = rng.binomial(truth, np.clip(wrong * rng.normal(1, 0.2, truth.shape), 0, 1))
    found = np.zeros((*truth.shape, classes), np.int64)
    for one in range(classes):
        found[:, one, one] = truth[:, one] - lost[:, one]
        found[:, one, (one + 1) % classes] += lost[:, one]
    return found


def measured(before: Segmenter, after: Segmenter, photos: list[Example]) -> Pairs:
    return Pairs.of(judge(before, photos, own_size=True), judge(after, photos, own_size=True))


def drawn(rng: np.random.Generator, pairs: Pairs, count: int) -> Pairs:
    """So many photos of `pairs`, each as often as chance has it."""
    return pairs.subset(rng.integers(0, len(pairs), count))


def swapped(rng: np.random.Generator, pairs: Pairs) -> Pairs:
    """Two equal versions: a coin decides for each photo which result is whose."""
    coin = rng.integers(0, 2, (len(pairs), 1, 1)).astype(bool)
    before, after = np.where(coin, pairs.after, pairs.before), np.where(coin, pairs.before, pairs.after)
    return Pairs(pairs.names, before, after)


def most_errors(trials: int, rate: float, doubt: float = 0.001) -> int:
    """The most errors that so many trials of this rate make, but for a probability `doubt` (binomial distribution)."""
    below = 0.0
    for errors in range(trials + 1):
        below += comb(trials, errors) * rate**errors * (1 - rate) ** (trials - errors)
        if below >= 1 - doubt:
            return errors
    return trials


def ruined(pairs: Pairs) -> tuple[Pairs, float]:
    """A version that is as good as the first on average: better on most photos, and useless on some. Also their share.

    A ruined photo's pixels are all said to be of its largest class. Each photo occurs many times, ruined in some.
    """
    copies = 200
    wasted = np.zeros_like(pairs.after)
    rows, largest = np.arange(len(pairs)), pairs.truth.argmax(1)
    wasted[rows, :, largest] = pairs.before.sum(-1)
    shares = np.arange(copies) / copies
    totals = ((pairs.before, (1 - share) * pairs.after + share * wasted) for share in shares)
    gains = [float(mean_over_classes(Pairs(pairs.names, *sides).differences())) for sides in totals]
    share = float(shares[np.argmin(np.abs(gains))])
    spoilt = round(share * copies)
    after = np.concatenate([pairs.after] * (copies - spoilt) + [wasted] * spoilt)
    return Pairs(pairs.names * copies, np.concatenate([pairs.before] * copies), after), share
