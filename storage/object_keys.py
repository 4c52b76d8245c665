"""Keys of objects in the object store. docs/architecture.md shows them as a tree."""

import re

from storage import keys

_REVIEWS = re.compile(r"reviews/([^/]+)/(job_[0-9a-f]{32})/[^/]*")


def upload(tenant: str, job_id: str) -> str:
    return f"{keys.hour(job_id)}/{tenant}/{job_id}"


def reruns(tenant: str, job_id: str) -> str:
    """Prefix of the uploads of a job's re-runs."""
    return f"{keys.hour(job_id)}/{tenant}/{keys.reruns_of(job_id)}"


def results(tenant: str, job_id: str) -> str:
    """Prefix of a job's result objects."""
    return f"{upload(tenant, job_id)}/"


def result(tenant: str, job_id: str, token: str, suffix: str) -> str:
    """The key contains the lease token, so a zombie attempt cannot overwrite the winner's mask."""
    return f"{results(tenant, job_id)}{token}.{suffix}"


def owner(key: str) -> keys.Owner | None:
    """Tenant and job id from the key of an upload or a result; None for any other key."""
    parts = key.split("/")
    return (parts[1], parts[2]) if len(parts) in (3, 4) and keys.is_job_id(parts[2]) else None


def renderings_of(tenant: str, job_id: str) -> str:
    """Prefix of a job's renderings."""
    return f"{tenant}/{job_id}/"


def feedback_of(tenant: str, job_id: str) -> str:
    """Prefix of the feedback on a job."""
    return f"{tenant}/{job_id}/"


def feedback(tenant: str, job_id: str, feedback_id: str, suffix: str) -> str:
    return f"{feedback_of(tenant, job_id)}{feedback_id}.{suffix}"


def reviews_of(tenant: str, job_id: str) -> str:
    """Prefix of what the learning loop keeps of a job."""
    return f"reviews/{tenant}/{job_id}/"


def review(tenant: str, job_id: str, name: str) -> str:
    return f"{reviews_of(tenant, job_id)}{name}"


def reviewed(key: str) -> keys.Owner | None:
    """Tenant and job id from `reviews_of` or a key below it; None for any other key."""
    found = _REVIEWS.fullmatch(key)
    return (found.group(1), found.group(2)) if found else None


RUNS = "runs/"  # prefix of all runs


def run(run_id: str, name: str = "") -> str:
    return f"{RUNS}{run_id}/{name}"


VERDICTS = "gates/"  # prefix of the gate's verdicts


def verdict(candidate: str, name: str = "") -> str:
    return f"{VERDICTS}{candidate}/{name}"


def judged_candidate(key: str) -> str:
    """The candidate that a verdict's key names."""
    return key.removeprefix(VERDICTS).rpartition("/")[0]


ROLLOUTS = "rollouts/"  # prefix of the earlier rollouts


def rollout(rollout_id: str) -> str:
    return f"{ROLLOUTS}{rollout_id}.json"


def manifests(dataset: str) -> str:
    """Prefix of the manifests of a data set's versions."""
    return f"{dataset}/versions/"


def manifest(dataset: str, number: int) -> str:
    return f"{manifests(dataset)}{number}/manifest.json"


def ledger(gate_set: str) -> str:
    """`gate_set`: the digest of its photos."""
    return f"ledgers/{gate_set}.json"


def base_photo(dataset: str, digest: str, suffix: str) -> str:
    return f"{dataset}/base/{digest}.{suffix}"


def dataset_items(dataset: str, tenant: str = "", job_id: str = "") -> str:
    """Prefix of the prepared corrections that the versions of a data set share: all, or those of one job."""
    return f"{dataset}/items/" + (f"{tenant}/{job_id}/" if job_id else "")


def batch(tenant: str, batch_id: str, name: str = "") -> str:
    return f"{tenant}/{batch_id}/{name}"
