"""How often the drift of the inputs is wrongly shown, and how many photos show a real one, by simulation.

SEGUE_TRAINING_DATA=... SEGUE_DATA=... python scripts/drift_error_rates.py             # some ten minutes
SEGUE_TRAINING_DATA=... SEGUE_DATA=... python scripts/drift_error_rates.py --windows 100

The last table compares test photos of the data with the profile of pets/3. Prints Markdown tables for
docs/decisions/0032-drift.md.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from drifting import FEATURES, normal, profile_of, tied, windows

from model.data import Example, examples, full_size_examples
from model.inputs import INPUTS, measure
from model.segmenter import Segmenter
from storage.inputs.drift import ERROR_BUDGET, PSI_DRIFT, compare, log_e_value, psi
from storage.inputs.profile import Profile

TRAINING, PHOTOS = (50, 500, 3376), 2000
WINDOW_H, MONTH_H, PER_HOUR = 24, 720, (1, 4, 16, 64)
LOOKS = (50, 100, 500)


def _as_it_is(photo: Image.Image) -> Image.Image:
    return photo


VERSION, SOME, ALL = Path("model/weights/pets/3"), 250, 1000
CHANGES: dict[str, tuple[int, Callable[[Image.Image], Image.Image]]] = {
    "as they are": (ALL, _as_it_is),
    "darker, all values times 0.8": (SOME, lambda photo: photo.point(lambda value: value * 0.8)),
    "darker, all values times 0.6": (SOME, lambda photo: photo.point(lambda value: value * 0.6)),
    "blurred, radius 1.5 of about 256 px": (SOME, lambda photo: photo.filter(ImageFilter.GaussianBlur(1.5))),
    "without colours": (SOME, lambda photo: photo.convert("L").convert("RGB")),
    "upside down": (SOME, lambda photo: photo.rotate(180)),
}
SHIFTS = (0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=1000, help="simulated windows in each row")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_TRAINING_DATA", ".")))
    parser.add_argument("--small", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    options = parser.parse_args()
    for table in (unchanged, moving, shifted):
        for line in table(options.windows):
            print(line, flush=True)
    for line in photos_of(options.data, options.small):
        print(line, flush=True)


def unchanged(count: int) -> Iterator[str]:
    """Each window has FEATURES independent features; one of them suffices for an error."""
    looks = " | ".join(f"PSI alone, at {photos} photos" for photos in LOOKS)
    yield f"\n| {count} windows of {PHOTOS} unchanged photos | training photos | drift | evidence alone | {looks} |"
    yield "|---" * (4 + len(LOOKS)) + "|"
    for name, draw in (("continuous", normal()), ("six values", tied)):
        for training in TRAINING:
            made = windows(training, PHOTOS, count * FEATURES, draw, draw, seed=training)
            drift, sure = (
                [one.any() for one in ones] for ones in zip(*((w.drifts, w.sure) for w in made), strict=True)
            )
            alone = ([window.psi[look - 1] >= PSI_DRIFT for window in made] for look in LOOKS)
            rates = " | ".join(f"{100 * _any(flags):.1f} %" for flags in (drift, sure, *alone))
            yield f"| {name} | {training} | {rates} |"


def _any(flags: list[bool]) -> float:
    """The share of windows in which a feature has the flag."""
    return float(np.reshape(flags, (-1, FEATURES)).any(1).mean())


def moving(count: int) -> Iterator[str]:
    """A tenth as many months, since each has 720 windows."""
    months = count // 10
    yield f"\n| {months} months of unchanged photos, windows of {WINDOW_H} hours, one each hour | with a drift |"
    yield "|---|---|"
    for per_hour in PER_HOUR:
        rng = np.random.default_rng(per_hour)
        wrong = sum(any(_month_drifts(rng, per_hour) for _ in range(FEATURES)) for _ in range(months))
        yield f"| {per_hour} photos an hour | {100 * wrong / months:.0f} % |"


def _month_drifts(rng: np.random.Generator, per_hour: int) -> bool:
    """Whether any window of one feature drifts."""
    bins = profile_of(rng.standard_normal(TRAINING[-1]))
    values = rng.standard_normal((MONTH_H, per_hour))
    by_hour = np.eye(len(bins), dtype=int)[np.searchsorted(bins.edges, values, "right")].sum(1)
    return any(
        psi(bins.counts, counts) >= PSI_DRIFT and log_e_value(bins, counts) >= log(FEATURES / ERROR_BUDGET)
        for counts in (by_hour[end - WINDOW_H : end].sum(0).tolist() for end in range(WINDOW_H, MONTH_H))
    )


def shifted(count: int) -> Iterator[str]:
    yield "\n| shift, standard deviations | PSI after all photos | shown within the window | photos: median | 90 % |"
    yield "|---|---|---|---|---|"
    for shift in SHIFTS:
        made = windows(TRAINING[-1], PHOTOS, count, normal(), normal(shift), seed=1)
        needed = [window.photos_needed or 10 * PHOTOS for window in made]
        shown = sum(one <= PHOTOS for one in needed) / count
        median, most = (np.quantile(needed, share, method="higher") for share in (0.5, 0.9))
        figures = (f"{one:.0f}" if one <= PHOTOS else "more" for one in (median, most))
        index = np.median([window.psi[-1] for window in made])
        yield f"| {shift} | {index:.2f} | {100 * shown:.0f} % | {' | '.join(figures)} |"


def photos_of(data: Path, small: Path) -> Iterator[str]:
    """`small`: the folder with smaller copies of the test photos, and with some at their full size."""
    tested, smaller = _shuffled(examples(data, "test")), _shuffled(examples(small, "test"))
    sets = [("at 160 px", smaller, _as_it_is), ("at their full size", full_size_examples(small), _as_it_is)]
    yield "\n| test photos | number | largest PSI (evidence) | drifts, after how many photos |"
    yield "|---|---|---|---|"
    for title, some, change in (*((title, tested[:count], one) for title, (count, one) in CHANGES.items()), *sets):
        photos = [change(pair.open()[0]) for pair in some]
        yield f"| {title} | {len(photos)} | {' | '.join(_drift_of(photos))} |"


def _shuffled(pairs: list[Example]) -> list[Example]:
    """The lists are sorted by breed, and a window full of one breed does drift."""
    return [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))]


def _drift_of(photos: list[Image.Image]) -> tuple[str, str]:
    """The feature with the largest PSI, and after how many photos each feature drifted first."""
    profile, segmenter = Profile.from_json((VERSION / INPUTS).read_bytes()), Segmenter(VERSION)
    counted = {name: [0] * len(bins) for name, bins in profile.features.items()}
    needed: dict[str, int] = {}
    for number, values in enumerate(measure(segmenter, photos), 1):
        for name, index in profile.bins(values).items():
            counted[name][index] += 1
        for feature in compare(profile, counted):
            if feature.drifts:
                needed.setdefault(feature.name, number)
    largest = max(compare(profile, counted), key=lambda feature: feature.psi or 0)
    first = ", ".join(f"{name} {number}" for name, number in needed.items())
    return f"{largest.name} {largest.psi:.2f} (10^{largest.evidence:.1f})", first or "none"


if __name__ == "__main__":
    main()
