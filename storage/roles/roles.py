"""The rights of each role, and the files that configure them in Redis and the object store.

A role is a Redis user and an object-store identity of the same name. A new key, queue or bucket
must be granted to a role here, or only the operator can use it. This module opens no connection.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storage import object_keys
from storage.keys import CONTROL_QUEUE, EVENTS, PREFIX, RECORDS_QUEUE, SEGMENT_QUEUE, TRAINING_QUEUE
from storage.models import ALIASES
from storage.objects import BATCHES, DATASETS, FEEDBACK, MODELS, RENDERINGS, RESULTS, TRAINING, UPLOADS
from storage.rollouts.rollouts import REGISTER


class Role(StrEnum):
    """The operator is the person who runs `segue` in a shell, and has all rights."""

    WEB = "web"
    WORKER = "worker"
    HOUSEKEEPER = "housekeeper"
    TRAINER = "trainer"
    OPERATOR = "operator"


PROGRAMS = (Role.WEB, Role.WORKER, Role.HOUSEKEEPER, Role.TRAINER)

# Without the right to list, a store answers "forbidden" for a missing object.
READ = ("s3:GetObject", "s3:ListBucket")
WRITE = ("s3:PutObject", "s3:AbortMultipartUpload")
ALL = (*READ, *WRITE, "s3:DeleteObject")
_JOBS = dict.fromkeys((UPLOADS, RESULTS, BATCHES, FEEDBACK, RENDERINGS), ALL)
_LEARNING = dict.fromkeys((DATASETS, TRAINING), ALL)
# Which version serves: the aliases, and the rollouts that move them.
_SERVING = {MODELS: READ, **{f"{MODELS}/{key}": WRITE for key in (ALIASES, REGISTER, f"{object_keys.ROLLOUTS}*")}}
# Bucket, or bucket/key → allowed actions.
OBJECTS: Mapping[Role, Mapping[str, tuple[str, ...]]] = {
    Role.WEB: {**_JOBS, **_LEARNING, **_SERVING},
    Role.WORKER: {UPLOADS: READ, RESULTS: ALL, MODELS: READ},
    Role.HOUSEKEEPER: {**_JOBS, **_LEARNING, **_SERVING},
    # It publishes candidates, but moves no alias and starts no rollout: a trained version does not serve by itself.
    Role.TRAINER: {
        **_LEARNING,
        **dict.fromkeys((UPLOADS, RESULTS, FEEDBACK), READ),
        MODELS: READ,
        f"{MODELS}/*/*": WRITE,
    },
}

# SQL table → rights of the PostgreSQL user. Worker and trainer have none; the operator owns the tables.
_RECORD = ("SELECT", "INSERT", "UPDATE")
TABLES: Mapping[Role, Mapping[str, tuple[str, ...]]] = {
    Role.WEB: {
        **dict.fromkeys(("jobs", "attempts", "results", "micro_batches", "reviews"), ("SELECT",)),
        "api_keys": ("SELECT", "UPDATE (last_used_ms)"),
        "sessions": ("SELECT", "INSERT", "UPDATE (seen_ms, ended_ms)"),
        "audit_log": ("INSERT",),
    },
    Role.HOUSEKEEPER: {
        **dict.fromkeys(
            ("jobs", "attempts", "micro_batches", "batches", "feedback", "model_versions", "training_runs"), _RECORD
        ),
        **dict.fromkeys(("results", "reviews"), (*_RECORD, "DELETE")),
        "sessions": ("SELECT (expires_ms)", "DELETE"),
        "audit_log": ("INSERT", "SELECT (at_ms)", "DELETE"),  # a trigger refuses to delete young rows
    },
}

# The default user needs all rights too, although its login is disabled: Redis replays its append-only
# file as that user, and drops every transaction and script that the user may not run.
EVERYTHING = "~* &* +@all"

# Redis keys, without the prefix, that every role needs: each job passes through them.
_LINE = (
    "job:*", "pending:*", "models:*", "turns:*", "turn", "leases:*", "open", "retained", "batch:*", "drainers",
    "engines", "unrecorded", "usage:*", "counters", "rollout:*", "mask:*", "masked:*",
)  # fmt: skip
# Commands that act on keys are granted by type, since a role's key patterns limit them; all others
# by name. `client` without its dangerous subcommands affects only the caller's own connection.
# Granting `+client|setinfo`, new in 7.2, would keep Redis 7.0 from starting.
_COMMANDS = (
    "-@all +@hash +@set +@sortedset +@string +@list +@transaction +client -@dangerous +del +exists +expire +pexpire "
    "+persist +ttl +time +fcall +publish +subscribe +unsubscribe +hello +auth +ping +select +quit +info"
)
_FILL = "+lpush +rpush +llen"


@dataclass(frozen=True)
class Keys:
    """A role's rights in Redis.

    `writes`: keys that it reads and writes; `reads`: keys that it only reads; `takes_from`: Celery
    queues that it consumes; `sends_to`: queues that it only fills; `commands`: those that no other
    program may call.
    """

    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    takes_from: tuple[str, ...] = ()
    sends_to: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


KEYS: Mapping[Role, Keys] = {
    Role.WEB: Keys(
        writes=(
            *_LINE, "bound:*", "idem:*", "limits:*", "gone:*", "inflow", "lock:aliases", "lock:rollout",
            "lock:batch:*", "lock:training:*", "training:erasing",
        ),
        reads=("epoch", "keyed", "pause", "refusal", "claims", "rate", "workers", "refusing:*", "clock", "inputs:*"),
        sends_to=(SEGMENT_QUEUE, TRAINING_QUEUE),
    ),
    Role.WORKER: Keys(
        writes=(
            *_LINE, "claim:*", "claims", "rate", "workers", "refusing:*", "progress", "rejected", "memory:*",
            "inputs:*",
        ),
        reads=("epoch", "pause", "gone:*", "inflow"),
        takes_from=(SEGMENT_QUEUE,),
    ),
    Role.HOUSEKEEPER: Keys(
        writes=("*",), takes_from=(CONTROL_QUEUE, RECORDS_QUEUE), sends_to=(SEGMENT_QUEUE, TRAINING_QUEUE),
        commands=("bgrewriteaof",),
    ),
    Role.TRAINER: Keys(
        writes=("training:run_*", "lock:training:*", "unrecorded"), reads=("gone:*",), takes_from=(TRAINING_QUEUE,)
    ),
}  # fmt: skip


def redis_acl(passwords: Mapping[Role, str]) -> str:
    """The ACL file for Redis 7.0 or newer, or Valkey.

    It holds unsalted digests, which is safe because the passwords are long and random.
    """
    rights = {**{role: _redis_rights(role) for role in PROGRAMS}, Role.OPERATOR: EVERYTHING}
    users = [f"user {role} on #{_sha256(passwords[role])} {rights[role]}" for role in Role]
    return "\n".join([f"user default off resetpass {EVERYTHING}", *users, ""])


def _redis_rights(role: Role) -> str:
    granted = KEYS[role]
    patterns = [
        *(f"~{PREFIX}{name}" for name in granted.writes),
        *(f"%R~{PREFIX}{name}" for name in granted.reads),
        *(f"~{name}" for queue in granted.takes_from for name in _lists(queue)),
    ]
    for queue in (*granted.takes_from, *granted.sends_to):  # a sender declares the queue's binding, too
        patterns += [f"~_kombu.binding.{queue}", f"~_kombu.binding_permanent.{queue}"]
    if granted.takes_from:
        patterns.append(f"~{role}:unacked*")
    fills = (f" ({_FILL} {' '.join(f'~{name}' for name in _lists(queue))})" for queue in granted.sends_to)
    more = "".join(f" +{command}" for command in granted.commands)
    return f"resetchannels &{EVENTS} {' '.join(patterns)} {_COMMANDS}{more}{''.join(fills)}"


def _lists(queue: str) -> Iterator[str]:
    """Patterns for the Redis lists of a Celery queue: its own list, and one per priority 3, 6 and 9.

    A priority's list has the queue's name, two control bytes and the digit.
    """
    yield queue
    yield f"{queue}??[369]"


def policy(role: Role, prefix: str) -> dict[str, Any]:
    """The IAM policy of a program's role, for buckets with this prefix."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(actions), "Resource": list(_resources(prefix + place))}
            for place, actions in OBJECTS[role].items()
        ],
    }


def _resources(place: str) -> Iterator[str]:
    yield f"arn:aws:s3:::{place}"
    if "/" not in place:
        yield f"arn:aws:s3:::{place}/*"


def seaweedfs_identities(secret_keys: Mapping[Role, str], prefix: str) -> str:
    """The file for `weed -s3.config`.

    It holds the secrets themselves, because signatures need them.
    """
    rights: dict[Role, dict[str, list[str]]] = {role: {"policyNames": [role]} for role in PROGRAMS}
    rights[Role.OPERATOR] = {"actions": ["Admin"]}
    identities = [
        {"name": role, "credentials": [{"accessKey": role, "secretKey": secret_keys[role]}], **rights[role]}
        for role in Role
    ]
    policies = [{"name": role, "content": json.dumps(policy(role, prefix))} for role in PROGRAMS]
    return json.dumps({"identities": identities, "policies": policies}, indent=1)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
