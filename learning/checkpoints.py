"""A training's state in the object store, so that another machine can go on with it."""

import time
from pathlib import Path

from learning.watch import Watch
from model.training.loop import EPOCHS, STATE, WEIGHTS, Watcher
from model.training.pictures import CURVES, curves
from storage.model_files import write_whole
from storage.training import runs
from storage.training.runs import Runs

# The weights of the best epoch before the state that knows of them. A run that has ended keeps the list of epochs only.
FILES = (WEIGHTS, EPOCHS, STATE)


class Checkpoints(Watcher):
    """Stores the state after an epoch, at most every `every_s`, and shows the figures of the epochs."""

    def __init__(self, stored: Runs, run_id: str, folder: Path, watch: Watch, every_s: float) -> None:
        self._runs, self._run_id, self.folder, self._watch = stored, run_id, folder, watch
        self._every_s, self._stored_at = every_s, time.monotonic() - every_s
        self._log = (stored.get(run_id, runs.LOG) or b"").decode()

    def restore(self) -> None:
        """Bring the newest stored state to this machine, unless a later one is here already."""
        if (self.folder / STATE).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if content := self._runs.get(self._run_id, name):
                write_whole(self.folder / name, content)

    def step(self) -> None:
        self._watch.beat()

    def epoch(self, done: dict[str, float], total: int) -> None:
        self._log += f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}  {done}\n"
        if time.monotonic() - self._stored_at >= self._every_s or done["epoch"] == total:
            self._store()
        self._watch.report("training", int(done["epoch"]), total, done)

    def _store(self) -> None:
        for name in FILES:
            if (self.folder / name).exists():
                self._runs.put(self._run_id, name, (self.folder / name).read_bytes())
        curves(self.folder / EPOCHS)
        self._runs.put(self._run_id, runs.CURVES, (self.folder / CURVES).read_bytes())
        self._runs.put(self._run_id, runs.LOG, self._log.encode())
        self._stored_at = time.monotonic()
        self._watch.kept()
