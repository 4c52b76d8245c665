"""Submits runs, and gives each the number of the version that it will make."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from storage import clock, keys
from storage.connection import Storage
from storage.models import VERSION, Alias
from storage.problems import Problem, Unavailable
from storage.training.datasets import DatasetError
from storage.training.runs import Kind, Spec

LOCK, LOCKED_S, PATIENCE_S = "training:submit", 30.0, 10.0
Following = Sequence[tuple[str, dict[str, Any]]]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ScoreParameters(_Parameters):
    pass


class BuildParameters(_Parameters):
    """`dataset`: the name; `number`: of the version to build."""

    dataset: str
    number: int = Field(0, ge=0)


class TrainParameters(_Parameters):
    """`dataset`: a version, or a name for its newest one; `start`: the model version to fine-tune, by default stable.

    `candidate`: the version to publish; `recipe`: a file in model/recipes; `changes`: entries of the recipe to replace.
    """

    dataset: str
    start: str = ""
    candidate: str = Field("", pattern=f"^({VERSION})?$")
    recipe: str = "finetune"
    changes: dict[str, JsonValue] = {}


class GateParameters(_Parameters):
    """`dataset`: the version to judge on, by default the one that the candidate learned from."""

    candidate: str
    dataset: str = ""


PARAMETERS: dict[Kind, type[_Parameters]] = {
    Kind.SCORE: ScoreParameters,
    Kind.BUILD: BuildParameters,
    Kind.TRAIN: TrainParameters,
    Kind.GATE: GateParameters,
}


def teach(changes: Mapping[str, Any] | None = None) -> tuple[tuple[str, dict[str, Any]], ...]:
    """What follows a build in a whole round of the loop. `changes`: entries of the training's recipe to replace."""
    return ((Kind.TRAIN.value, {"changes": dict(changes)} if changes else {}), (Kind.GATE.value, {}))


def submit(
    storage: Storage, kind: Kind, parameters: dict[str, Any], by: str, *,
    then: Following = (), run_id: str = "", elsewhere: bool = False,
) -> Spec:  # fmt: skip
    """Store a run and send a ticket. If `run_id` is that of an earlier run, return that run instead.

    `by`: who submits it. Raises Problem `invalid_request` or `unknown_model`; DatasetError; Unavailable.
    """
    if run_id and (known := storage.runs.spec(run_id)):
        return known
    try:
        checked = PARAMETERS[kind].model_validate(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem("invalid_request", f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with storage.jobs.locks.alone(LOCK, LOCKED_S) as chosen:
            if chosen:
                complete = _complete(storage, checked).model_dump()
                run_id = run_id or keys.new_run_id()
                spec = Spec(run_id, kind, complete, clock.now_ms(), by, tuple(then), elsewhere)
                storage.runs.submit(spec)
                break
        if time.monotonic() > deadline:
            raise Unavailable("another run is being submitted")
        time.sleep(0.1)
    if not elsewhere:
        storage.tickets.train()
    return spec


def _complete(storage: Storage, given: _Parameters) -> _Parameters:
    """Fill in the versions that are not given. Versions that open runs will make count as taken."""
    match given:
        case BuildParameters():
            name = storage.datasets.manifest(given.dataset).name
            promised = [int(one["number"]) for one in _open(storage, Kind.BUILD, name)]
            return BuildParameters(dataset=name, number=max(storage.datasets.versions(name) + promised) + 1)
        case TrainParameters():
            manifest = storage.datasets.manifest(given.dataset)
            if erased := storage.datasets.erased(manifest):
                raise DatasetError(withdrawn(manifest.id, len(erased)))
            start = given.start or storage.models.aliases(fresh=True).get(Alias.STABLE, "")
            card = storage.models.card(start)
            if card is None:
                raise Problem("unknown_model", "start: one that GET /v1/models lists.")
            candidate = given.candidate or _next_version(storage, str(card["name"]))
            if candidate in _taken(storage):
                raise Problem("invalid_request", f"candidate: {candidate} exists, or another run makes it.")
            return given.model_copy(update={"dataset": manifest.id, "start": start, "candidate": candidate})
        case GateParameters():
            if storage.models.card(given.candidate) is None:
                raise Problem("unknown_model", "candidate: one that GET /v1/models lists.")
            if given.dataset:
                return given.model_copy(update={"dataset": storage.datasets.manifest(given.dataset).id})
    return given


def _next_version(storage: Storage, name: str) -> str:
    numbers = [version.partition("/")[2] for version in _taken(storage) if version.startswith(f"{name}/")]
    return f"{name}/{max((int(number) for number in numbers if number.isdecimal()), default=0) + 1}"


def _taken(storage: Storage) -> set[str]:
    """The model versions that exist, or that open runs will make."""
    return {*storage.models.versions(), *(str(one["candidate"]) for one in _open(storage, Kind.TRAIN))}


def _open(storage: Storage, kind: Kind, dataset: str = "") -> list[dict[str, Any]]:
    """The parameters of the open runs of a kind."""
    found = [spec.parameters for spec in storage.runs.open() if spec.kind is kind]
    return [one for one in found if not dataset or one["dataset"] == dataset]


def withdrawn(dataset: str, photos: int) -> str:
    """Why nothing may be trained on the version."""
    return f"{dataset} is withdrawn: {photos} of its photos were erased; build a new version"
