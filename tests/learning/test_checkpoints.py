"""The state of a training in the object store."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import teaching
from PIL import Image

from learning.failures import Failures
from learning.watch import Watch
from storage.connection import Storage
from storage.training.runs import CHECKPOINT, CURVES, LOG, Runs

if TYPE_CHECKING:
    from learning.checkpoints import Checkpoints

pytestmark = pytest.mark.skipif(not teaching.trains(), reason="no TensorFlow")
RUN = "run_" + "1" * 32
WEIGHTS, STATE, EPOCHS = "network.weights.h5", "state.npz", "epochs.csv"


def checkpoints(store: Storage, folder: Path, every_s: float = 3600) -> "Checkpoints":
    from learning.checkpoints import Checkpoints  # imports TensorFlow

    failures = Failures(store.runs, RUN, "")
    failures.begin("host-1")
    watch = Watch(store.runs, RUN, failures, trainer="host-1", lease=None, stopping=lambda: False)
    return Checkpoints(store.runs, RUN, folder, watch, every_s)


def trained(folder: Path, epoch: int) -> dict[str, float]:
    """Write what a training leaves after an epoch. Returns the epoch's figures."""
    folder.mkdir(exist_ok=True)
    for name in (WEIGHTS, STATE):
        (folder / name).write_text(f"{name} of epoch {epoch}")
    with (folder / EPOCHS).open("w", newline="") as file:
        rows = csv.DictWriter(file, ("epoch", "loss", "mean_iou"))
        rows.writeheader()
        rows.writerows({"epoch": one, "loss": 1 / one, "mean_iou": 0.5} for one in range(1, epoch + 1))
    return {"epoch": epoch, "loss": 1 / epoch}


def stored(store: Storage, name: str) -> str:
    return (store.runs.get(RUN, name) or b"").decode()


def test_a_state_goes_on_on_another_machine(own_store: Storage, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    checkpoints(own_store, there).epoch(trained(there, 1), 9)
    checkpoints(own_store, here).restore()
    assert {path.name for path in here.iterdir()} == {WEIGHTS, EPOCHS, STATE}
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in (WEIGHTS, EPOCHS, STATE))


def test_a_state_on_this_machine_is_later_than_the_stored_one(own_store: Storage, tmp_path: Path) -> None:
    watched = checkpoints(own_store, tmp_path / "run")
    for epoch in (1, 2):
        watched.epoch(trained(tmp_path / "run", epoch), 9)
    assert stored(own_store, STATE) == f"{STATE} of epoch 1"
    checkpoints(own_store, tmp_path / "run").restore()
    assert (tmp_path / "run" / STATE).read_text() == f"{STATE} of epoch 2"


def test_a_state_that_another_machine_continued_replaces_the_one_here(own_store: Storage, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    trained(here, 1)
    checkpoints(own_store, there).epoch(trained(there, 3), 9)
    checkpoints(own_store, here).restore()
    assert (here / STATE).read_text() == f"{STATE} of epoch 3"


def test_without_a_stored_state_a_training_starts(own_store: Storage, tmp_path: Path) -> None:
    checkpoints(own_store, tmp_path / "a" / "run").restore()
    assert list((tmp_path / "a" / "run").iterdir()) == []


def test_the_weights_are_stored_before_the_state_that_knows_of_them(
    own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    put = Runs.put

    def noted(runs: Runs, run_id: str, name: str, content: bytes) -> None:
        names.append(name)
        put(runs, run_id, name, content)

    monkeypatch.setattr(Runs, "put", noted)
    checkpoints(own_store, tmp_path / "run").epoch(trained(tmp_path / "run", 1), 9)
    assert [name for name in names if name in (WEIGHTS, EPOCHS, STATE)] == [WEIGHTS, EPOCHS, STATE]


@pytest.mark.parametrize(("every_s", "epochs"), [(0, [1, 2, 3, 4]), (3600, [1, 4])])
def test_a_state_is_stored_after_the_first_and_the_last_epoch_and_every_s(
    own_store: Storage, tmp_path: Path, every_s: float, epochs: list[int]
) -> None:
    watched, seen = checkpoints(own_store, tmp_path / "run", every_s), []
    for epoch in range(1, 5):
        before = stored(own_store, STATE)
        watched.epoch(trained(tmp_path / "run", epoch), 4)
        if stored(own_store, STATE) != before:
            seen.append(epoch)
        assert own_store.runs.progress(RUN).done == epoch, "the progress is shown after every epoch"
    assert seen == epochs
    with Image.open(io.BytesIO(own_store.runs.get(RUN, CURVES) or b"")) as curves:
        assert curves.format == "PNG"


def test_the_log_goes_on_and_a_stored_state_forgives_crashes(own_store: Storage, tmp_path: Path) -> None:
    failures = Failures(own_store.runs, RUN, "")
    for _ in range(2):
        assert not failures.too_many()
        failures.begin("host-0")
    for epoch in (1, 2):
        checkpoints(own_store, tmp_path / "run").epoch(trained(tmp_path / "run", epoch), 9)
    first, second = stored(own_store, LOG).splitlines()
    assert ("'epoch': 1" in first, "'epoch': 2" in second) == (True, True)
    assert not failures.too_many()


def test_what_is_removed_at_the_end_is_the_state() -> None:
    from model.training import loop

    assert set(CHECKPOINT) == {loop.STATE, loop.WEIGHTS}
