"""Runs, data sets and candidates of the learning loop, and the drift of inputs. Requires the scope `admin`."""

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict

from storage.inputs.report import report
from storage.models import Alias
from storage.problems import Problem
from storage.records.audit_event import Action
from storage.training import candidates, submitting
from storage.training.candidates import Candidate
from storage.training.datasets import DatasetError, Manifest
from storage.training.runs import CURVES, LOG, Kind, Progress, Run
from web.access.auditing import note
from web.access.caller import caller
from web.documents import timestamp
from web.parsing import json_body
from web.services import connected

blueprint = Blueprint("training", __name__, url_prefix="/v1/training")


class Submission(BaseModel):
    """`parameters`: of the kind. `teach`: after a build, train a candidate and judge it."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    parameters: dict[str, Any] = {}
    teach: bool = False


@blueprint.get("/runs")
def runs() -> Response:
    """List all runs, the newest first."""
    return jsonify(object="list", data=[_run(found) for found in connected().runs.newest_first()])


@blueprint.post("/runs")
def submit() -> tuple[Response, int]:
    """Submit a run: rank the inbox, build a data set version, train a candidate, or let the gate judge one."""
    wanted, storage = json_body(Submission, "unsupported_media_type"), connected()
    if wanted.teach and wanted.kind is not Kind.BUILD:
        raise Problem("invalid_request", "teach: only for the kind `build`.")
    then = submitting.teach() if wanted.teach else ()
    try:
        spec = submitting.submit(storage, wanted.kind, wanted.parameters, caller().name, then=then)
    except DatasetError as error:
        raise Problem("unknown_dataset", f"{error}.") from error
    note(Action.RUN_SUBMITTED, spec.id, spec.kind)
    return jsonify(_run(Run(spec, Progress(), outcome=None, canceled=False))), 202


@blueprint.get("/runs/<run_id>")
def run(run_id: str) -> Response:
    """Get a run: its parameters, its progress, how it ended."""
    return jsonify(_run(_find(run_id)))


@blueprint.post("/runs/<run_id>/cancel")
def cancel(run_id: str) -> Response:
    """Cancel a run. Its trainer stops between two batches or photos."""
    found = _find(run_id)
    if found.outcome:
        raise Problem("already_terminal", f"The run's status is {found.status}.")
    connected().runs.cancel(run_id)
    connected().tickets.train()
    note(Action.RUN_CANCELED, run_id)
    return jsonify(_run(replace(found, canceled=True)))


@blueprint.get("/runs/<run_id>/log")
def log(run_id: str) -> Response:
    """Get a training's log: one line per epoch."""
    return Response(_file(run_id, LOG), content_type="text/plain; charset=utf-8")


@blueprint.get("/runs/<run_id>/curves")
def curves(run_id: str) -> Response:
    """Get a training's curves of loss and mean IoU as a picture."""
    return Response(_file(run_id, CURVES), content_type="image/png")


@blueprint.get("/datasets")
def datasets() -> Response:
    """List all versions of all data sets."""
    return jsonify(object="list", data=[_dataset(*found) for found in connected().datasets.listing()])


@blueprint.get("/datasets/<name>/<number>")
def dataset(name: str, number: str) -> Response:
    """Get a version: the number of photos in each split, and the corrections that it leaves out, with reasons."""
    found = connected().datasets
    try:
        manifest = found.manifest(f"{name}/{number}")
    except DatasetError as error:
        raise Problem("not_found", f"{error}.") from error
    return jsonify(_dataset(manifest, found.erased(manifest)))


@blueprint.get("/candidates")
def listing() -> Response:
    """List the candidates with the gate's verdicts, the newest first."""
    return jsonify(object="list", data=[_candidate(one) for one in candidates.listing(connected())])


@blueprint.post("/candidates/<name>/<version>/promote")
def promote(name: str, version: str) -> Response:
    """Point `stable` at a candidate that has passed the gate against the version that is stable now."""
    candidates.promote(connected(), f"{name}/{version}")
    note(Action.MODEL_PROMOTED, f"{name}/{version}", Alias.STABLE)
    return jsonify(object="aliases", aliases=connected().models.history())


@blueprint.get("/drift/<name>/<version>")
def drift(name: str, version: str) -> Response:
    """Compare the photos of the last 24 hours with those that the version was trained on."""
    try:
        found = report(connected(), f"{name}/{version}") or _not_found("profile")
    except ValueError as error:
        raise Problem("not_found", f"The profile cannot be read: {error}.") from error
    return jsonify({**found.to_document(), "object": "drift"})


def _find(run_id: str) -> Run:
    return connected().runs.find(run_id) or _not_found("run")


def _file(run_id: str, name: str) -> bytes:
    stored = connected().runs
    if stored.spec(run_id) is None:
        _not_found("run")
    return stored.get(run_id, name) or _not_found("file")


def _not_found(what: str) -> Any:
    raise Problem("not_found", f"There is no such {what}.")


def _run(found: Run) -> dict[str, Any]:
    spec, progress, outcome = found.spec, found.progress, found.outcome
    path = f"{request.script_root}{blueprint.url_prefix}/runs/{spec.id}"
    return {
        "id": spec.id,
        "object": "run",
        "kind": spec.kind,
        "status": found.status,
        "parameters": spec.parameters,
        "created_by": spec.created_by,
        "created_at": timestamp(spec.created_ms),
        "finished_at": timestamp(outcome.finished_ms) if outcome else None,
        "progress": {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "figures": progress.figures,
        },
        "trainer": progress.trainer,
        "cancel_requested": found.canceled,
        "result": outcome.result if outcome else {},
        "reason": outcome.reason if outcome else "",
        "links": {"self": path, "cancel": f"{path}/cancel", "log": f"{path}/log", "curves": f"{path}/curves"},
    }


def _dataset(manifest: Manifest, erased: list[str]) -> dict[str, Any]:
    found = manifest.to_document(erased)
    created = timestamp(found.pop("created_ms"))
    return {**found, "object": "dataset", "created_at": created}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.version,
        "object": "candidate",
        "dataset": candidate.dataset,
        "start": candidate.start,
        "run": candidate.run,
        "published_at": timestamp(candidate.published_ms),
        "metrics": candidate.metrics,
        "outcome": candidate.outcome,
        "verdict": candidate.verdict,
    }
