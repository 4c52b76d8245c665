"""What the audit log records. Known without the database, and so without SQLAlchemy."""

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
    JOB_ERASED = "job.erased"
    JOB_READ = "job.read"  # by the operator or an admin, of a tenant that is not their own
    SESSIONS_READ = "sessions.read"
    SETUP = "setup"


@dataclass(frozen=True)
class Event:
    """Equal events are counted in one row.

    `actor`: the tenant, or OPERATOR or HOUSEKEEPER. `source`: the network of the caller, or the user of the shell.
    `target`: the id of what was acted on.
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
