"""Counts the failed tries of a step, crashes included, so that no step is tried forever."""

import json
from contextlib import suppress

from storage.problems import Unavailable
from storage.training.runs import MOST_FAILURES, Runs


class Failures:
    """One line for each try of a step that has begun and has not ended well, in `failures/{step}.json` of the run.

    Call `too_many` before `begin`.
    """

    def __init__(self, runs: Runs, run_id: str, step: str) -> None:
        self._runs, self._run_id, self._name = runs, run_id, f"failures/{step or 'run'}.json"
        self._lines: list[str] = []

    def begin(self, trainer: str) -> None:
        """Count the try as a crash of `trainer` until it ends otherwise. Raises Unavailable."""
        self._lines = [*self._lines, f"{trainer} crashed"]
        self._store()

    def add(self, line: str) -> None:
        self._lines[-1:] = [line]
        self._try_store()

    def interrupted(self) -> None:
        """Remove the try's line: it ended for a reason outside the run."""
        self._lines = self._lines[:-1]
        self._try_store()

    def end(self) -> None:
        self._lines = []
        self._try_store()

    def only_this_try(self) -> None:
        self._lines = self._lines[-1:]
        self._try_store()

    def too_many(self) -> str:
        """The reason why the run must end, or "" if the step may be tried again. Raises Unavailable."""
        content = self._runs.get(self._run_id, self._name)
        self._lines = json.loads(content) if content else []
        if len(self._lines) < MOST_FAILURES:
            return ""
        return f"It failed {len(self._lines)} times: {'; '.join(self._lines[-MOST_FAILURES:])}"

    def _store(self) -> None:
        self._runs.put(self._run_id, self._name, json.dumps(self._lines).encode())

    def _try_store(self) -> None:
        """During an outage the line stays as it was: at worst, one more try counts as a crash."""
        with suppress(Unavailable):
            self._store()
