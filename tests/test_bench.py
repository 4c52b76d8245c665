"""The arithmetic of the benchmarks, and whether their programs start."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from importing import imported
from services import ROOT

BENCH = ROOT / "scripts" / "bench"
PROGRAMS = re.findall(r"scripts/bench/\S+\.py", (ROOT / "Makefile").read_text())


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return imported(BENCH / "figures.py")


def test_percentiles_are_the_nearest_rank(figures: ModuleType) -> None:
    values = [number / 1000 for number in range(100, 0, -1)]
    assert figures.percentiles("job_ms", values) == {"job_ms.p50": 50, "job_ms.p95": 95, "job_ms.p99": 99}
    assert figures.percentile([7], 0.99) == 7
    assert figures.percentiles("job_ms", []) == {}


def test_a_straight_line_has_its_slope_without_a_margin(figures: ModuleType) -> None:
    found = figures.slope([0, 1, 2, 3], [5, 7, 9, 11])
    assert (found.value, found.margin) == (2, 0)
    assert found.reaches(2)
    assert not found.reaches(2.1)


def test_the_margin_is_that_of_the_textbook(figures: ModuleType) -> None:
    """Residuals -0.1, 0.3, -0.3, 0.1 on x = 0..3: s² = 0.1, the spread of x is 5."""
    found = figures.slope([0, 1, 2, 3], [0.9, 1.4, 0.9, 1.4])
    assert found.value == pytest.approx(0.1)
    assert found.margin == pytest.approx(1.96 * (0.1 / 5) ** 0.5, rel=1e-4)
    assert not found.reaches(0.05), "its interval includes 0"


def test_a_slope_needs_three_different_points(figures: ModuleType) -> None:
    with pytest.raises(ValueError, match="three points"):
        figures.slope([0, 1], [0, 1])
    with pytest.raises(ValueError, match="same x"):
        figures.slope([1, 1, 1], [0, 1, 2])


def test_two_runs_are_compared_by_the_figures_of_both(figures: ModuleType, tmp_path: Path) -> None:
    before = [figures.Row("bare", "640x480", {"cpu_ms.all": 10, "gone": 1}), figures.Row("burst", "x", {"errors": 0})]
    after = [figures.Row("bare", "640x480", {"cpu_ms.all": 5, "new": 1}), figures.Row("burst", "x", {"errors": 2})]
    figures.save(tmp_path / "a" / "run.json", {"commit": "1"}, before)
    lines = figures.compare(figures.load(tmp_path / "a" / "run.json"), after)
    assert [line.split() for line in lines] == [
        ["bare:", "640x480"],
        ["cpu_ms.all", "10", "5", "0.50"],
        ["burst:", "x"],
        ["errors", "0", "2", "–"],
    ]


def test_a_row_prints_its_figures_by_group(figures: ModuleType) -> None:
    row = figures.Row("closed", "640x480", {"images_per_s": 51.234, "cpu_ms.all": 30.0, "cpu_ms.web": 6.0})
    assert str(row).splitlines() == [
        "closed: 640x480",
        "  images_per_s   51.23",
        "  cpu_ms         all 30, web 6",
    ]


def test_no_module_hides_one_of_the_tests_support() -> None:
    """The benchmarks import both kinds by their bare names."""
    ours, theirs = BENCH.rglob("*.py"), (ROOT / "tests" / "support").glob("*.py")
    assert not {path.name for path in ours} & {path.name for path in theirs}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_finds_its_imports(program: str) -> None:
    """runpy executes the file as `make` does, except for its `if __name__ == "__main__"`."""
    code = f"import runpy, sys; sys.path.insert(0, {str((ROOT / program).parent)!r}); runpy.run_path({str(program)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
