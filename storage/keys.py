"""Ids of jobs, batches and the like, and the names of keys in Redis. For keys of objects, see object_keys.py."""

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import uuid_utils

# Names of the Celery queues, and of their Redis lists.
SEGMENT_QUEUE, CONTROL_QUEUE, RECORDS_QUEUE, TRAINING_QUEUE = "segment", "control", "records", "training"
PREFIX = "segue:"  # of all Segue keys in Redis; must equal P in storage/queue/lua/prelude.lua
EVENTS = f"{PREFIX}events"
WORKERS = f"{PREFIX}workers"
OPEN = f"{PREFIX}open"
RATE = f"{PREFIX}rate"
INFLOW = f"{PREFIX}inflow"
EPOCH = f"{PREFIX}epoch"
KEYED = f"{PREFIX}keyed"
CLOCK = f"{PREFIX}clock"
RETAINED = f"{PREFIX}retained"
UNRECORDED = f"{PREFIX}unrecorded"
PROGRESS = f"{PREFIX}progress"
ERASING = f"{PREFIX}training:erasing"
ENGINES = f"{PREFIX}engines"
FUNCTIONS = f"{PREFIX}functions"
REJECTED = f"{PREFIX}rejected"
COUNTERS = f"{PREFIX}counters"
PAUSE = f"{PREFIX}pause"
REFUSAL = f"{PREFIX}refusal"

DAY_MS = 24 * 3600 * 1000

Owner = tuple[str, str]  # tenant, job or batch id

_ID = re.compile(r"(?:job|bat)_[0-9a-f]{32}")
_RUN = re.compile(r"run_[0-9a-f]{32}")
_ROLLOUT = re.compile(r"rol_[0-9a-f]{32}")


class Lane(StrEnum):
    INTERACTIVE = "interactive"
    BULK = "bulk"


def new_job_id() -> str:
    """`job_` and a UUIDv7 in hex: ids sort by creation time."""
    return f"job_{uuid_utils.uuid7().hex}"


def new_batch_id() -> str:
    return f"bat_{uuid_utils.uuid7().hex}"


def new_feedback_id() -> str:
    return f"fbk_{uuid_utils.uuid7().hex}"


def new_session_id() -> str:
    return f"ses_{uuid_utils.uuid7().hex}"


def new_run_id() -> str:
    return f"run_{uuid_utils.uuid7().hex}"


def new_rollout_id() -> str:
    return f"rol_{uuid_utils.uuid7().hex}"


def new_token() -> str:
    """The token of a claim; tokens sort by creation time."""
    return str(uuid_utils.uuid7().hex)


def batch_job_id(batch_id: str, custom_id: str) -> str:
    """The id of a batch's item: always the same, so a repeated append creates no second job.

    A UUIDv7 with the batch's time, whose random bits are a digest of the batch id and `custom_id`.
    """
    return f"job_{batch_id[4:16]}{_digits(f'{batch_id} {custom_id}')}"


def backfill_batch(version: str, tenant: str, ms: int) -> str:
    """The id of the batch to which a backfill with `version` adds the tenant's photos on the UTC day of `ms`."""
    day_ms = ms - ms % DAY_MS
    return f"bat_{day_ms:012x}{_digits(f'backfill {version} {tenant}')}"


def reruns_of(job_id: str) -> str:
    """What the ids of all re-runs of a job begin with: the job's time and 44 bits of a digest of its id."""
    digest = hashlib.sha256(f"rerun {job_id}".encode()).hexdigest()
    return f"{job_id[:16]}7{digest[:3]}8{digest[3:11]}"


def rerun(job_id: str, version: str) -> str:
    """The id of the re-run of a job with a model version: always the same, so a photo is re-run once.

    Its time is the job's, so its objects are in the job's hour.
    """
    return f"{reruns_of(job_id)}{hashlib.sha256(version.encode()).hexdigest()[:7]}"


def _digits(text: str) -> str:
    """The last 20 hex digits of a UUIDv7, with a digest of `text` instead of random bits."""
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    version_and_variant = (0x7 << 76) | (0x2 << 62)
    random_bits = digest & ((1 << 80) - 1) & ~((0xF << 76) | (0x3 << 62))
    return f"{version_and_variant | random_bits:020x}"


def is_job_id(text: str) -> bool:
    return text.startswith("job_") and _is_id(text)


def is_batch_id(text: str) -> bool:
    return text.startswith("bat_") and _is_id(text)


def is_run_id(text: str) -> bool:
    return _RUN.fullmatch(text) is not None


def is_rollout_id(text: str) -> bool:
    return _ROLLOUT.fullmatch(text) is not None


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and UUID(text[4:]).version == 7


def hour(job_id: str) -> str:
    """`yyyymmddhh` (UTC) of the time in a job's or batch's id, so an id alone is enough to find its
    objects.
    """
    return hour_of(created_ms(job_id))


def created_ms(job_id: str) -> int:
    """The time in a job's or batch's id, ms UTC."""
    return int(job_id[4:16], 16)


def hour_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y%m%d%H")


def ids_of_hour(name: str) -> tuple[str, str]:
    """The smallest and the largest possible job id of an hour `yyyymmddhh`."""
    start_ms = int(datetime.strptime(f"{name}+0000", "%Y%m%d%H%z").timestamp() * 1000)
    return f"job_{start_ms:012x}{'0' * 20}", f"job_{start_ms + 3600 * 1000 - 1:012x}{'f' * 20}"


def following_run(run_id: str, kind: str) -> str:
    """The id of the run that follows `run_id`: always the same, so a repeated submission creates no second one."""
    return f"run_{run_id[4:16]}{hashlib.sha256(f'{run_id} {kind}'.encode()).hexdigest()[:20]}"


def job(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def mask(job_id: str) -> str:
    return f"{PREFIX}mask:{job_id}"


def lane(name: Lane) -> str:
    return f"{PREFIX}pending:{name}"


def leases(name: Lane) -> str:
    return f"{PREFIX}leases:{name}"


def gone(job_id: str) -> str:
    return f"{PREFIX}gone:{job_id}"


def usage(party: str) -> str:
    return f"{PREFIX}usage:{party}"


def lock(name: str) -> str:
    return f"{PREFIX}lock:{name}"


def training_lease(name: str) -> str:
    """`name`: a run's id, or the id and the name of a step."""
    return f"{PREFIX}training:{name}"


def rollout(rollout_id: str) -> str:
    return f"{PREFIX}rollout:{rollout_id}"


def refusing(model: str) -> str:
    """`model`: an alias or a version."""
    return f"{PREFIX}refusing:{model}"


def inputs(version: str, profile: str, hour: int) -> str:
    """`profile`: its digest; `hour`: since 1970, UTC."""
    return f"{PREFIX}inputs:{version}:{profile[:8]}:{hour}"


def memory(worker: str) -> str:
    return f"{PREFIX}memory:{worker}"


def turns(name: Lane) -> str:
    return f"{PREFIX}turns:{name}"


def models_asked(name: Lane, party: str) -> str:
    """The models for which the party has jobs waiting."""
    return f"{PREFIX}models:{name}:{party}"


def party_queue(name: Lane, party: str, model: str) -> str:
    return f"{lane(name)}:{party}:{model}"


def idempotency(tenant: str, key_hash: str) -> str:
    return f"{PREFIX}idem:{tenant}:{key_hash}"


def batch(batch_id: str) -> str:
    return f"{PREFIX}batch:{batch_id}"


def batch_counts(batch_id: str) -> str:
    return f"{PREFIX}batch:{batch_id}:counts"


def batch_jobs(batch_id: str) -> str:
    return f"{PREFIX}batch:{batch_id}:jobs"


def batch_done(batch_id: str) -> str:
    return f"{PREFIX}batch:{batch_id}:done"
