"""Keeps the learning loop going: sends training tickets, starts the rounds that the settings ask for, records runs."""

import logging
from typing import Any

from storage import clock, keys
from storage.connection import Storage
from storage.keys import TRAINING_QUEUE
from storage.training import reviews, submitting
from storage.training.datasets import DatasetError
from storage.training.runs import Kind, Status

POLICY = "policy"  # who asks for the rounds that nobody asked for
PAUSE_MS = 3600 * 1000  # after a run that failed

log = logging.getLogger(__name__)


def learn(storage: Storage) -> None:
    """Repeat it every few seconds. Raises Unavailable."""
    is_open = storage.runs.ids()
    _record(storage, is_open)
    if not any(is_open.values()):
        _start_round(storage, list(is_open))
    elif not _tickets(storage):
        storage.tickets.train()


def _tickets(storage: Storage) -> int:
    return int(storage.jobs.client.llen(TRAINING_QUEUE))


def _record(storage: Storage, is_open: dict[str, bool]) -> None:
    """Write the runs that are open or have just ended to SQL."""
    for run_id in is_open.keys() - storage.run_records.finished():
        if run := storage.runs.find(run_id):
            storage.run_records.write(run)


def _start_round(storage: Storage, run_ids: list[str]) -> None:
    """Start a round if enough corrections were accepted, or if enough time has passed, since the last one."""
    settings = storage.settings
    if not settings.learn_dataset or not (settings.learn_after or settings.learn_every_s):
        return
    since_ms = clock.now_ms() - (keys.created_ms(run_ids[-1]) if run_ids else 0)
    if since_ms < PAUSE_MS and _failed(storage, run_ids[-1]):
        return
    due = settings.learn_every_s and since_ms >= settings.learn_every_s * 1000
    if due or (settings.learn_after and _accepted_since_last(storage) >= settings.learn_after):
        parameters: dict[str, Any] = {"dataset": settings.learn_dataset}
        try:
            spec = submitting.submit(storage, Kind.BUILD, parameters, POLICY, then=submitting.TEACH)
        except DatasetError as error:
            log.warning("round_not_started", extra={"reason": str(error)})
            return
        log.info("round_started", extra={"run": spec.id})


def _failed(storage: Storage, run_id: str) -> bool:
    outcome = storage.runs.outcome(run_id)
    return outcome is None or outcome.status is not Status.SUCCEEDED


def _accepted_since_last(storage: Storage) -> int:
    """How many accepted corrections the newest version neither holds nor has left out."""
    newest = storage.datasets.manifest(storage.settings.learn_dataset)
    seen = {item.job_id for item in newest.corrections} | {entry.job_id for entry in newest.left_out}
    return sum(review.job_id not in seen for review in reviews.accepted(storage.objects))
