"""Rebuild jobs from their objects if their job hashes are lost or outdated."""

import logging

from storage.job import Job, Spec
from storage.objects import MinioObjects
from storage.queue.jobs import RedisJobs
from storage.s3 import Listed

log = logging.getLogger(__name__)


def find(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> Job | None:
    """The current job, even if Redis has lost it.

    None for an unknown or erased job and for another tenant's.
    """
    job, intact = jobs.look(job_id)
    if job is None:
        return None if jobs.ids.tenant_of_erased(job_id) else recover(objects, jobs, tenant, job_id)
    if job.spec.tenant != tenant:
        return None
    if not job.status.final and not intact and objects.spec(tenant, job_id):
        # Redis may have restarted with an older state, from before the job ended or was erased.
        restore_ended(objects, jobs, job.spec, objects.results(tenant, job_id))
        return jobs.get(job_id)
    return job


def recover(
    objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str, results: list[Listed] | None = None
) -> Job | None:
    """Rebuild the job hash of an upload: ended as its oldest result says, or else queued.

    Idempotent: an existing job hash keeps its state, except that a result ends an open job. None
    without an upload, because such a job was never accepted. `results`: the job's result objects,
    if the caller has listed them already.
    """
    spec = objects.spec(tenant, job_id)
    if spec is None:
        return None
    if not restore_ended(objects, jobs, spec, objects.results(tenant, job_id) if results is None else results):
        jobs.enqueue(spec, again=True)
        log.warning("job_adopted", extra=spec.log_fields)
    return jobs.get(job_id)


def restore_ended(objects: MinioObjects, jobs: RedisJobs, spec: Spec, results: list[Listed]) -> bool:
    """End the job as its oldest intact result says.

    False without a result. `results`: the oldest first.
    """
    ending = objects.ending(results)
    if ending is None:
        return False
    listed, outcome = ending
    if jobs.restore(spec, outcome, listed.key, listed.modified_ms):
        for rerun_id in [] if spec.erase_by_ms else objects.reruns(spec.tenant, spec.id):
            jobs.link(spec.id, rerun_id)
        log.warning("job_restored", extra={**spec.log_fields, **outcome.log_fields})
    return True
