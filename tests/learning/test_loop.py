"""The learning loop on a running stack: a model that is wrong about a kind of photo learns it from corrections.

Figures are printed: `make test-loop`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import teaching
from stack import Stack
from teaching import QUICK, cast, segue

# Three in ten are held out, and the gate wants twenty of those.
CORRECTIONS, OTHERS = range(1000, 1090), range(2000, 2016)

pytestmark = pytest.mark.skipif(not teaching.trains(), reason="needs the `train` extra")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, shapes_version: Path) -> Iterator[Stack]:
    """A stack with a trainer that serves shapes/1, and the data set `shapes`."""
    folder = tmp_path_factory.mktemp("school")
    with Stack(folder / "var", workers=1, TRAINERS=1, LEARN_S=2, TF_CPP_MIN_LOG_LEVEL=3) as stack:
        segue(stack, "models", "publish", shapes_version, "--promote")
        segue(stack, "data", "import", "shapes", teaching.data_folder(folder / "data"))
        yield stack


def test_a_model_learns_from_corrections(school: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    before = teaching.mean_iou(school, OTHERS)
    assert before < 0.4
    jobs = teaching.corrected(school, [cast(seed) for seed in CORRECTIONS])
    teaching.accept(school, jobs)
    built = segue(school, "data", "build", "shapes", "--wait")
    assert f"corrections {len(CORRECTIONS)}" in built
    trained = segue(school, "train", "shapes", *QUICK, "--wait")
    assert "candidate shapes/2" in trained
    refused = segue(school, "candidates", "promote", "shapes/2", fails=True)
    assert "has not judged" in refused
    judged = segue(school, "gate", "shapes/2", "--wait")
    verdict = segue(school, "candidates", "show", "shapes/2")
    with capsys.disabled():
        print(f"\n{built}{trained}{judged}{verdict}")
    assert teaching.candidate(school, "shapes/2")["verdict"]["outcome"] == "passed"
    segue(school, "candidates", "promote", "shapes/2")
    after = teaching.mean_iou(school, OTHERS)
    with capsys.disabled():
        print(f"mean IoU of {len(OTHERS)} other photos under the cast: {before:.3f} before, {after:.3f} after")
    assert after > 0.8
    log = segue(school, "runs", "log", re.findall(r"run_\w+", trained)[0])
    assert len(log.splitlines()) == 3
