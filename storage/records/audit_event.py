"""The events of the audit log. This module does not import SQLAlchemy."""

from dataclasses import dataclass
from enum import StrEnum

# Actors that are not tenants.
OPERATOR, HOUSEKEEPER = "operator", "housekeeper"


class Action(StrEnum):
    AUTH_FAILED = "auth.failed"
    REQUEST_REFUSED = "request.refused"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    SESSION_BEGUN = "session.begun"
    SESSION_ENDED = "session.ended"
    MODEL_PUBLISHED = "model.published"
    MODEL_PROMOTED = "model.promoted"
    MODEL_ROLLED_BACK = "model.rolled_back"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_CHANGED = "rollout.changed"
    BACKFILL_STARTED = "backfill.started"
    REVIEW_ACCEPTED = "review.accepted"  # for training
    REVIEW_REJECTED = "review.rejected"
    RUN_SUBMITTED = "run.submitted"
    RUN_CANCELED = "run.canceled"
    JOB_ERASED = "job.erased"
    JOB_READ = "job.read"  # a job of another tenant, read by the operator or an admin
    SESSIONS_READ = "sessions.read"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_REFUSING = "queue.refusing"
    QUEUE_RESUMED = "queue.resumed"
    BACKUP_SAVED = "backup.saved"
    BACKUP_RESTORED = "backup.restored"
    SETUP = "setup"


@dataclass(frozen=True)
class Event:
    """One event. Equal events may share a row with a count.

    `actor`: the tenant, or OPERATOR or HOUSEKEEPER. `source`: the caller's network, or the user of
    the shell. `target`: the id of the object acted on.
    """

    action: Action
    actor: str = ""
    key_id: str = ""
    source: str = ""
    target: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Counted:
    """`count` equal events, the last of them at `at_ms` (UTC)."""

    event: Event
    at_ms: int
    count: int = 1
