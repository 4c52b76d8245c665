"""Runs of the learning loop, in the object store. Celery carries tickets that say "there is work" and name no run.

runs/{id}/spec.json         what to do; never changes
runs/{id}/parts/{n}.json    what one part of a build has prepared
runs/{id}/progress.json     how far it is
runs/{id}/failures/…        tries that did not end well, by step
runs/{id}/canceled          present if the run's end was requested
runs/{id}/outcome.json      how it ended: an open run has none
runs/{id}/…                 checkpoints, log and curves of a training
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from storage import clock, keys, object_keys
from storage.objects import TRAINING, MinioObjects

SPEC, PROGRESS, CANCELED, OUTCOME = "spec.json", "progress.json", "canceled", "outcome.json"
LOG, CURVES = "log.txt", "curves.png"
CHECKPOINT = ("state.npz", "network.weights.h5")
MOST_FAILURES = 3


class Kind(StrEnum):
    """SCORE: rank the inbox; BUILD: make a data set version; TRAIN: make a candidate; GATE: judge a candidate."""

    SCORE = "score"
    BUILD = "build"
    TRAIN = "train"
    GATE = "gate"


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Spec:
    """`parameters`: of its kind, see `submitting.PARAMETERS`. `created_by`: a person, a key or `policy`.

    `then`: the kinds and parameters of the runs that follow if it succeeds. Its result supplies missing parameters.
    `elsewhere`: `python -m learning.job ID` does the run on another machine; a trainer only ends it if it is canceled.
    """

    id: str
    kind: Kind
    parameters: dict[str, Any]
    created_ms: int
    created_by: str
    then: tuple[tuple[str, dict[str, Any]], ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True)
class Progress:
    """`done`, `total`: epochs of a training, parts of a build; `at_ms`: when it was written."""

    done: int = 0
    total: int = 0
    stage: str = ""
    trainer: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    at_ms: int = 0


@dataclass(frozen=True)
class RunOutcome:
    """`result`: what the run has made, such as {"candidate": "pets/4"}; `reason`: one line, unless it succeeded."""

    status: Status
    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    finished_ms: int = 0


@dataclass(frozen=True)
class Run:
    spec: Spec
    progress: Progress
    outcome: RunOutcome | None
    canceled: bool

    @property
    def status(self) -> Status:
        if self.outcome:
            return self.outcome.status
        return Status.RUNNING if self.progress.at_ms else Status.QUEUED


class Runs:
    """Every method raises Unavailable if the object store does not answer."""

    def __init__(self, objects: MinioObjects) -> None:
        self._objects = objects

    def submit(self, spec: Spec) -> None:
        """Store a run. Repeating it changes nothing."""
        self.put(spec.id, SPEC, json.dumps(asdict(spec)).encode())

    def spec(self, run_id: str) -> Spec | None:
        content = self.get(run_id, SPEC) if keys.is_run_id(run_id) else None
        if content is None:
            return None
        fields = json.loads(content)
        then = tuple((kind, parameters) for kind, parameters in fields.pop("then"))
        return Spec(**{**fields, "kind": Kind(fields["kind"])}, then=then)

    def find(self, run_id: str) -> Run | None:
        spec = self.spec(run_id)
        if spec is None:
            return None
        outcome, canceled = self.outcome(run_id), self.get(run_id, CANCELED) is not None
        return Run(spec, self.progress(run_id), outcome, canceled)

    def ids(self) -> dict[str, bool]:
        """Run id → whether it is open, the oldest first."""
        files: dict[str, set[str]] = {}
        for listed in self._objects.listing(TRAINING, object_keys.RUNS):
            _, run_id, name = listed.key.split("/", 2)
            files.setdefault(run_id, set()).add(name)
        return {run_id: OUTCOME not in names for run_id, names in sorted(files.items()) if SPEC in names}

    def newest_first(self) -> Iterator[Run]:
        return (run for run_id in reversed(self.ids()) if (run := self.find(run_id)))

    def open(self) -> Iterator[Spec]:
        """The runs without an outcome, the oldest first."""
        return self.specs(run_id for run_id, is_open in self.ids().items() if is_open)

    def specs(self, run_ids: Iterable[str]) -> Iterator[Spec]:
        return (spec for run_id in run_ids if (spec := self.spec(run_id)))

    def progress(self, run_id: str) -> Progress:
        content = self.get(run_id, PROGRESS)
        return Progress(**json.loads(content)) if content else Progress()

    def report(self, run_id: str, progress: Progress) -> None:
        self.put(run_id, PROGRESS, json.dumps(asdict(replace(progress, at_ms=clock.now_ms()))).encode())

    def cancel(self, run_id: str) -> None:
        """Request the run's end. Its trainer stops at its next `beat`; a waiting run ends when a trainer reaches it."""
        self.put(run_id, CANCELED, b"")

    def is_canceled(self, run_id: str) -> bool:
        return self.get(run_id, CANCELED) is not None

    def outcome(self, run_id: str) -> RunOutcome | None:
        content = self.get(run_id, OUTCOME)
        fields = json.loads(content) if content else None
        return RunOutcome(**{**fields, "status": Status(fields["status"])}) if fields else None

    def finish(self, run_id: str, outcome: RunOutcome) -> None:
        self.put(run_id, OUTCOME, json.dumps(asdict(replace(outcome, finished_ms=clock.now_ms()))).encode())

    def forget_checkpoint(self, run_id: str) -> None:
        """Remove what is only needed to continue the run: tens of megabytes."""
        for name in CHECKPOINT:
            self._objects.remove(TRAINING, object_keys.run(run_id, name))

    def parts(self, run_id: str) -> set[int]:
        """The numbers of the parts that are done."""
        listed = self._objects.listing(TRAINING, object_keys.run(run_id, "parts/"))
        return {int(entry.key.rpartition("/")[2].partition(".")[0]) for entry in listed}

    def get(self, run_id: str, name: str) -> bytes | None:
        return self._objects.get(TRAINING, object_keys.run(run_id, name))

    def put(self, run_id: str, name: str, content: bytes) -> None:
        self._objects.put(TRAINING, object_keys.run(run_id, name), content, "application/octet-stream")
