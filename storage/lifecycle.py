"""Operations on a job from outside its attempts: end, cancel, retry, erase.

Each takes several steps on objects and job hashes. Their order keeps the state consistent if an
operation is interrupted at any point; repeating it completes it.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from storage import clock, feedback, keys, object_keys, renderings
from storage.job import LONGEST_DEADLINE_S, Finished, Job, Outcome, Status
from storage.objects import RESULTS, UPLOADS, MinioObjects
from storage.problems import Problem
from storage.queue.answers import Cancellation, Cause
from storage.queue.jobs import RedisJobs
from storage.training import erasure, reviews

RETRYABLE = (Status.FAILED, Status.EXPIRED, Status.CANCELED)  # ended without a mask
CAUSES = {
    Cause.CANCELED: Problem("canceled", "A request canceled the job."),
    Cause.EXPIRED: Problem("expired", "The job was not finished before its deadline."),
    Cause.POISONED: Problem("poisoned", "Three workers in a row crashed while processing this image by itself."),
}

log = logging.getLogger(__name__)


def end(objects: MinioObjects, jobs: RedisJobs, job: Job, token: str, cause: Cause) -> Status:
    """Write the result of a job leased to `token`, finish the job, and return its status.

    If an older result exists, that one counts instead. If this fails, the lease expires and the
    next sweep repeats it.
    """
    key, outcome = objects.put_result_after_others(job.spec, token, Outcome.of_problem(job.id, CAUSES[cause]))
    jobs.finish(token, "", 0, [Finished(job.id, key, outcome)])
    log.log(outcome.log_level, "job_ended", extra={**job.spec.log_fields, **outcome.log_fields})
    return outcome.status


def cancel(objects: MinioObjects, jobs: RedisJobs, job: Job) -> Cancellation | Status:
    """Cancel the job. Returns its status if it has ended.

    MARKED: the job is running, and its holder stops before the next stage. UNKNOWN: Redis has no
    such job.
    """
    token = keys.new_token()
    answer = jobs.cancel(job.id, token)
    return end(objects, jobs, job, token, Cause.CANCELED) if answer is Cancellation.LEASED else answer


def retry(objects: MinioObjects, jobs: RedisJobs, job: Job, deadline_s: int) -> bool:
    """Queue another attempt, due in `deadline_s`; False for a job that did not end without a mask.

    Raises Problem `not_retryable` if the job is too old, `gone` if its photo was erased. Before the
    job is queued, the upload is rewritten with the new deadline and the old problem object is
    removed: after a loss of Redis, the old deadline or the old problem would end the job again.
    """
    if job.status not in RETRYABLE:
        return False
    now_ms, latest_ms = clock.now_ms(), job.spec.created_ms + LONGEST_DEADLINE_S * 1000
    if latest_ms <= now_ms:
        raise Problem("not_retryable", "The job is too old to retry; submit the photo again.")
    content = objects.get_upload(job.spec)
    if content is None:
        raise Problem("gone", "The photo was erased.")
    spec = replace(job.spec, deadline_ms=min(now_ms + deadline_s * 1000, latest_ms))
    objects.put_upload(spec, content)
    _remove_results(objects, job.spec.tenant, job.id)
    return jobs.retry(job.id, spec.deadline_ms)


def erase(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> bool:
    """Erase the job: pending set → re-runs → training copies → upload → results → renderings → feedback → job hash.

    In this order no recovery can bring it back. The recorder erases it from SQL seconds later. If
    erasing is interrupted, the janitor completes it. A job past its retention may still have
    training copies. Returns False for a running job, which stays as it is, and for a job with a
    running re-run: that is canceled, and the janitor completes the erasure if the caller does not.
    """
    jobs.erasing.mark(tenant, job_id)
    if jobs.begin_erase(job_id) is Status.RUNNING:
        jobs.erasing.unmark(tenant, job_id)
        return False
    if not _without_reruns(objects, jobs, tenant, job_id, erase):
        return False
    erasure.erase(objects, jobs, tenant, job_id)
    forget(objects, jobs, tenant, job_id)
    return True


def expire(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> bool:
    """Erase the job at the end of its retention, as `erase` does; accepted training copies remain.

    If an earlier `erase` was interrupted, they are erased too.
    """
    if jobs.erasing.marked(tenant, job_id):
        return erase(objects, jobs, tenant, job_id)
    if jobs.begin_erase(job_id) is Status.RUNNING:
        return False
    if not _without_reruns(objects, jobs, tenant, job_id, expire):
        return False
    forget(objects, jobs, tenant, job_id)
    return True


def _without_reruns(
    objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str, end_one: Callable[..., bool]
) -> bool:
    """Erase all re-runs of a job with `end_one`, and cancel those that run.

    Returns whether none is left. A backfill adds no re-run to a job that has begun to be erased.
    """
    left = [name for name in objects.reruns(tenant, job_id) if not end_one(objects, jobs, tenant, name)]
    for running in filter(None, jobs.get_many(left) if left else []):
        cancel(objects, jobs, running)
    return not left


def forget(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Erase the data of a job that is neither leased nor waiting, except accepted training copies."""
    objects.remove(UPLOADS, object_keys.upload(tenant, job_id))
    _remove_results(objects, tenant, job_id)
    renderings.erase(objects, tenant, job_id)
    feedback.erase(objects, tenant, job_id)
    reviews.end_retention(objects, jobs, tenant, job_id)
    jobs.finish_erase(job_id, tenant)


def _remove_results(objects: MinioObjects, tenant: str, job_id: str) -> None:
    for listed in objects.results(tenant, job_id):
        objects.remove(RESULTS, listed.key)
