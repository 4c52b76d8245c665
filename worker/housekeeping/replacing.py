"""Moves the open rollout to its next step, back, or on to the promotion, and starts one if the settings ask for it."""

import logging
from functools import partial

from storage import clock
from storage.connection import Storage
from storage.models import Alias, AliasMoved
from storage.problems import Problem
from storage.rollouts import counts
from storage.rollouts.deciding import Action, decide
from storage.rollouts.policies import policy_of
from storage.rollouts.rollout import Rollout, State
from storage.training import candidates
from worker.housekeeping.learning import POLICY

LOADING_MS = 30_000  # another worker may still be loading a version that one worker has refused

log = logging.getLogger(__name__)


def replace_gradually(storage: Storage) -> None:
    """Called every ROLLOUT_S seconds. Raises Unavailable, redis.RedisError."""
    try:
        if storage.rollouts.current(fresh=True):
            storage.rollouts.change(partial(_next, storage))
        elif storage.settings.rollout_candidates:
            _start(storage)
    except AliasMoved as error:  # while this function ran: the next call sees it
        log.warning("rollout_unchanged", extra={"reason": str(error)})
    except Problem as problem:  # another process has changed the rollout; or the settings are wrong
        log.warning("rollout_unchanged", extra={"reason": problem.detail})


def _next(storage: Storage, stored: Rollout) -> Rollout:
    """The rollout with what has been counted since, in the state that the counts call for."""
    rollout, now_ms = counts.with_counts(storage.jobs.client, stored), clock.now_ms()
    stable = storage.models.aliases(fresh=True).get(Alias.STABLE, "")
    if stable == rollout.version:  # a kill came between the two writes of a promotion, or a person was quicker
        return rollout.promoted("stable points at it.", now_ms)
    if stable != rollout.stable:
        return rollout.aborted(f"stable was moved to {stable}.", now_ms)
    if now_ms - rollout.started_ms > LOADING_MS and (reason := _refused(storage, rollout.version)):
        return rollout.rolled_back(f"No worker can load it: {reason}", now_ms)
    return rollout if rollout.state is State.PAUSED else _decided(rollout, now_ms)


def _decided(rollout: Rollout, now_ms: int) -> Rollout:
    decision = decide(rollout, now_ms)
    if decision.action is Action.ROLL_BACK:
        return rollout.rolled_back(decision.reason, now_ms)
    if decision.action is Action.ADVANCE:
        return rollout.advanced(decision.reason, now_ms)
    return rollout


def _refused(storage: Storage, version: str) -> str:
    """Why workers refuse the version; "" if none does, or if one has loaded it."""
    reports = storage.jobs.workers.reports().values()
    if any(version in report.loaded for report in reports):
        return ""
    return next((report.refused[version] for report in reports if version in report.refused), "")


def _start(storage: Storage) -> None:
    """Roll out the newest candidate that has passed the gate against today's stable.

    Not if it was rolled out or stable before, however that ended: only a person tries a version again. Older candidates
    are left alone then, because they learned from less.
    """
    stable = storage.models.aliases(fresh=True).get(Alias.STABLE, "")
    version = candidates.newest_passed(storage, stable)
    if version and not storage.models.has_been_stable(version) and not storage.rollouts.tried(version):
        storage.rollouts.start(version, policy_of(storage.settings), POLICY, instead_of=stable)
