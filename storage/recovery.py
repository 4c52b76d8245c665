"""Jobs brought back from their objects after their records were lost."""

import logging

from storage.job import Job, Spec
from storage.jobs import RedisJobs
from storage.objects import Listed, MinioObjects

log = logging.getLogger(__name__)


def recover(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> Job | None:
    """The record of a job whose upload exists: ended as its oldest result says, else in line again.

    Idempotent; a record that exists stays as it is. None where there is no upload: such a job was never accepted.
    """
    spec = objects.spec(tenant, job_id)
    if spec is None:
        return None
    if not restore_ended(objects, jobs, spec, objects.results(tenant, job_id)):
        jobs.enqueue(spec)
        log.warning("%s adopted: its upload had no record", job_id)
    return jobs.get(job_id)


def restore_ended(objects: MinioObjects, jobs: RedisJobs, spec: Spec, results: list[Listed]) -> bool:
    for listed in results:
        outcome = objects.outcome(listed.key)
        if outcome is not None:
            jobs.restore(spec, outcome, listed.key, listed.modified_ms)
            log.warning("%s restored as %s from its result", spec.id, outcome.status)
            return True
    return False
