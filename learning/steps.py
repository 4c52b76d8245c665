"""What the kinds of runs have in common."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning.watch import Watch
from storage import keys
from storage.connection import Storage
from storage.problems import Problem
from storage.training import submitting
from storage.training.datasets import DatasetError
from storage.training.runs import Kind, RunOutcome, Spec, Status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A piece of a run that one trainer does under a lease. Repeating it changes nothing.

    `name`: "" for the only or the last step of a run; `done`: whether another trainer has done the step meanwhile.
    """

    name: str
    done: Callable[[], bool]
    do: Callable[[Watch], None]


@dataclass(frozen=True)
class Place:
    """`storage`, and a folder on this machine for the run's files; a run can continue without them."""

    storage: Storage
    folder: Path


def whole(place: Place, spec: Spec, do: Callable[[Place, Spec, Watch], dict[str, Any]]) -> list[Step]:
    """The only step of a run in one piece; `do` returns the run's result."""

    def finished() -> bool:
        return place.storage.runs.outcome(spec.id) is not None

    return [Step("", finished, lambda watch: finish(place.storage, spec, do(place, spec, watch)))]


def finish(storage: Storage, spec: Spec, result: dict[str, Any]) -> None:
    """Submit the run that follows, then store the outcome. After a kill in between, the same run is submitted again."""
    if spec.then:
        (kind, parameters), rest = spec.then[0], spec.then[1:]
        wanted = submitting.PARAMETERS[Kind(kind)].model_fields
        known = {name: value for name, value in result.items() if name in wanted}
        following = keys.following_run(spec.id, kind)
        try:
            submitting.submit(
                storage, Kind(kind), {**known, **parameters}, spec.created_by, then=rest, run_id=following
            )
            result = {**result, "next": following}
        except (Problem, DatasetError) as error:  # what this run has made exists all the same
            reason = error.detail if isinstance(error, Problem) else str(error)
            log.warning("run_not_followed", extra={"run": spec.id, "kind": kind, "reason": reason})
            result = {**result, "not_followed": reason}
    storage.runs.finish(spec.id, RunOutcome(Status.SUCCEEDED, result))
