"""A training's state in the object store, so that another machine can continue it."""

import time
from pathlib import Path

from learning.watch import Watch
from model.training.loop import EPOCHS, STATE, WEIGHTS, Watcher
from model.training.pictures import CURVES, curves
from storage.model_files import write_whole
from storage.training import runs
from storage.training.runs import Runs

# Stored in this order: no state names a best epoch whose weights are not stored. An ended run keeps only the epochs.
FILES = (WEIGHTS, EPOCHS, STATE)


class Checkpoints(Watcher):
    """Stores the state at the end of an epoch, at most once in `every_s` seconds, and reports each epoch's figures."""

    def __init__(self, stored: Runs, run_id: str, folder: Path, watch: Watch, every_s: float) -> None:
        self._runs, self._run_id, self.folder, self._watch = stored, run_id, folder, watch
        self._every_s, self._stored_at = every_s, time.monotonic() - every_s
        self._log = (stored.get(run_id, runs.LOG) or b"").decode()

    def restore(self) -> None:
        """Download the stored state, unless this machine already has one of as many epochs.

        Another machine may have continued the run meanwhile.
        """
        if (self.folder / STATE).exists() and _epochs(self._here(EPOCHS)) >= _epochs(self._stored(EPOCHS)):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if content := self._stored(name):
                write_whole(self.folder / name, content)

    def _here(self, name: str) -> bytes:
        return (self.folder / name).read_bytes() if (self.folder / name).exists() else b""

    def _stored(self, name: str) -> bytes:
        return self._runs.get(self._run_id, name) or b""

    def step(self) -> None:
        self._watch.beat()

    def epoch(self, done: dict[str, float], total: int) -> None:
        self._log += f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}  {done}\n"
        if time.monotonic() - self._stored_at >= self._every_s or done["epoch"] == total:
            self._store()
        self._watch.report("training", int(done["epoch"]), total, done)

    def _store(self) -> None:
        for name in FILES:
            if content := self._here(name):
                self._runs.put(self._run_id, name, content)
        curves(self.folder / EPOCHS)
        self._runs.put(self._run_id, runs.CURVES, (self.folder / CURVES).read_bytes())
        self._runs.put(self._run_id, runs.LOG, self._log.encode())
        self._stored_at = time.monotonic()
        self._watch.kept()


def _epochs(listed: bytes) -> int:
    """How many lines a list of epochs has."""
    return len(listed.splitlines())
