"""Jobs brought back from their objects after their records were lost, or fell behind."""

import logging

from storage.job import Job, Spec
from storage.objects import Listed, MinioObjects
from storage.queue.jobs import RedisJobs

log = logging.getLogger(__name__)


def find(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> Job | None:
    """The job as it stands, whatever Redis has lost. None for an unknown, an erased or another tenant's."""
    job, intact = jobs.look(job_id)
    if job is None:
        return None if jobs.ids.tenant_of_erased(job_id) else recover(objects, jobs, tenant, job_id)
    if job.spec.tenant != tenant:
        return None
    if not job.status.final and not intact and objects.spec(tenant, job_id):
        # An older state of Redis may have come back, in which it had not ended yet, or had not been erased.
        restore_ended(objects, jobs, job.spec, objects.results(tenant, job_id))
        return jobs.get(job_id)
    return job


def recover(
    objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str, results: list[Listed] | None = None
) -> Job | None:
    """The record of a job whose upload exists: ended as its oldest result says, else in line again.

    Idempotent; a record that exists stays as it is. None where there is no upload: such a job was never accepted.
    `results`: its result objects, where they are known already.
    """
    spec = objects.spec(tenant, job_id)
    if spec is None:
        return None
    if not restore_ended(objects, jobs, spec, objects.results(tenant, job_id) if results is None else results):
        jobs.enqueue(spec, again=True)
        log.warning("%s adopted: its upload had no record", job_id)
    return jobs.get(job_id)


def restore_ended(objects: MinioObjects, jobs: RedisJobs, spec: Spec, results: list[Listed]) -> bool:
    """Whether there was a result; `results`: the oldest first."""
    ending = objects.ending(results)
    if ending is None:
        return False
    listed, outcome = ending
    if jobs.restore(spec, outcome, listed.key, listed.modified_ms):
        log.warning("%s restored as %s from its result", spec.id, outcome.status)
    return True
