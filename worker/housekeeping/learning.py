"""Keeps the learning loop going: sends training tickets, starts the rounds that the settings ask for, records runs."""

import logging
from itertools import islice
from typing import Any

from storage import clock, keys
from storage.connection import Storage
from storage.inputs.report import report
from storage.keys import TRAINING_QUEUE
from storage.problems import Problem
from storage.training import reviews, submitting
from storage.training.datasets import DatasetError
from storage.training.reviews import State
from storage.training.runs import Kind, Status

POLICY = "policy"  # who has created the rounds and rollouts that the housekeeper starts
LOCK, LOCKED_S = "learning", 120.0
PAUSE_MS = 3600 * 1000  # after a round that failed
DRIFT_PAUSE_MS = 24 * 3600 * 1000  # after any run: until then, the window holds photos from before it

log = logging.getLogger(__name__)


def learn(storage: Storage) -> None:
    """Called every LEARN_S seconds. Raises Unavailable.

    The records come last, so that the loop goes on while the SQL database is down.
    """
    with storage.jobs.locks.alone(LOCK, LOCKED_S) as chosen:  # else a slow call and the next could both start a round
        if chosen:
            is_open = storage.runs.ids()
            open_runs = storage.runs.specs(run_id for run_id, opened in is_open.items() if opened)
            if all(spec.elsewhere for spec in open_runs):  # a run of another machine may never begin
                _start_round(storage, list(is_open))
            elif not _tickets(storage):
                storage.tickets.train()
            _record(storage, is_open)


def _tickets(storage: Storage) -> int:
    return int(storage.jobs.client.llen(TRAINING_QUEUE))


def _record(storage: Storage, is_open: dict[str, bool]) -> None:
    """Write the runs that are open or have just ended to SQL."""
    for run_id in is_open.keys() - storage.run_records.finished():
        if run := storage.runs.find(run_id):
            storage.run_records.write(run)


def _start_round(storage: Storage, run_ids: list[str]) -> None:
    """Start a round if the settings give a reason to."""
    settings = storage.settings
    if not settings.learn_dataset or not (settings.learn_after or settings.learn_every_s or settings.learn_on_drift):
        return
    last_ms = keys.created_ms(run_ids[-1]) if run_ids else 0
    if _failed_lately(storage, [run_id for run_id in run_ids if keys.created_ms(run_id) == last_ms]):
        return
    try:
        if reason := _reason(storage, clock.now_ms() - last_ms):
            parameters: dict[str, Any] = {"dataset": settings.learn_dataset}
            then = submitting.teach(settings.learn_recipe)
            spec = submitting.submit(storage, Kind.BUILD, parameters, POLICY, then=then)
            log.info("round_started", extra={"run": spec.id, "reason": reason})
    except (DatasetError, Problem) as error:
        log.warning("round_not_started", extra={"reason": str(error)})


def _failed_lately(storage: Storage, round_ids: list[str]) -> bool:
    """`round_ids`: the runs of the last round; their ids share one time."""
    outcomes = [storage.runs.outcome(run_id) for run_id in round_ids]
    paused_ms = clock.now_ms() - PAUSE_MS
    return any(one and one.status is not Status.SUCCEEDED and one.finished_ms > paused_ms for one in outcomes)


def _reason(storage: Storage, since_ms: int) -> str:
    """Why a round should start now; "": it should not.

    `since_ms`: time since the last run or round was submitted.
    """
    settings = storage.settings
    if settings.learn_every_s and since_ms >= settings.learn_every_s * 1000:
        return "time"
    if settings.learn_after and _has_new(storage, settings.learn_after):
        return "corrections"
    # A drift alone brings nothing to learn from: the data set would be the same again.
    if settings.learn_on_drift and since_ms >= DRIFT_PAUSE_MS and (drifting := _drifting(storage)):
        return f"drift of {', '.join(drifting)}" if _has_new(storage, 1) else ""
    return ""


def _drifting(storage: Storage) -> list[str]:
    """The features of stable's inputs that have drifted in the last day."""
    try:
        found = report(storage)
    except ValueError as error:
        log.warning("drift_unknown", extra={"error": str(error)})
        return []
    return found.drifting if found else []


def _has_new(storage: Storage, count: int) -> bool:
    """Whether at least `count` accepted corrections are new: the newest version neither holds them nor left them out.

    Lists the reviews but reads none of them, because there may be 100,000.
    """
    newest = storage.datasets.manifest(storage.settings.learn_dataset)
    seen = {item.job_id for item in newest.corrections} | {entry.job_id for entry in newest.left_out}
    accepted = (folder.owner[1] for folder in reviews.folders(storage.objects) if folder.state is State.ACCEPTED)
    return len(list(islice((job_id for job_id in accepted if job_id not in seen), count))) == count
