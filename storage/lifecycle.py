"""What is done to a job from outside of its attempts: ended, cancelled, tried again, erased.

Each is several steps over objects and records, in an order in which it may break off anywhere and nothing wrong is
left; repeated, it goes on.
"""

from dataclasses import replace

from storage import clock, feedback, keys, renderings
from storage.job import LONGEST_DEADLINE_S, Finished, Job, Outcome, Status
from storage.objects import RESULTS, UPLOADS, MinioObjects
from storage.problems import Problem
from storage.queue.answers import Cancellation, Verdict
from storage.queue.jobs import RedisJobs

RETRYABLE = (Status.FAILED, Status.EXPIRED, Status.CANCELED)  # ended without a mask
VERDICTS = {
    Verdict.CANCELED: Problem("canceled", "A request canceled the job."),
    Verdict.EXPIRED: Problem("expired", "The job was not finished before its deadline."),
    Verdict.POISONED: Problem("poisoned", "Three workers in a row crashed while processing this image by itself."),
}


def end(objects: MinioObjects, jobs: RedisJobs, job: Job, token: str, verdict: Verdict) -> Status:
    """Write the result of a job leased to `token` and finish it; a result that is there already counts. → its status

    If this fails, the lease runs out: the next sweep.
    """
    key, outcome = objects.put_result_after_others(job.spec, token, Outcome.of_problem(job.id, VERDICTS[verdict]))
    jobs.finish(token, "", 0, [Finished(job.id, key, outcome)])
    return outcome.status


def cancel(objects: MinioObjects, jobs: RedisJobs, job: Job) -> Cancellation | Status:
    """→ `marked` (it runs: its holder stops before the next stage) or the status it ended with."""
    token = keys.new_token()
    answer = jobs.cancel(job.id, token)
    return end(objects, jobs, job, token, Verdict.CANCELED) if answer is Cancellation.LEASED else answer


def retry(objects: MinioObjects, jobs: RedisJobs, job: Job, deadline_s: int) -> bool:
    """Another attempt for a job that ended without a mask, from now on for `deadline_s`. → whether it had

    Raises Problem `not_retryable` for one too old and `gone` without its photo. The upload is written first, with its
    new deadline, and the old problem removed: found after a loss of Redis, either would end the job again.
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
    """Remove the job and everything of it: pending → upload → result → what was said about it → record.

    In this order no recovery can bring it back. The SQL records forget it seconds later.

    → False for a running one, which stays as it is. Broken off half-way, the janitor goes on.
    """
    if jobs.condemn(job_id) is Status.RUNNING:
        return False
    forget(objects, jobs, tenant, job_id)
    return True


def forget(objects: MinioObjects, jobs: RedisJobs, tenant: str, job_id: str) -> None:
    """Everything of a job that nobody has and that is in no line."""
    objects.remove(UPLOADS, keys.upload(tenant, job_id))
    _remove_results(objects, tenant, job_id)
    renderings.erase(objects, tenant, job_id)
    feedback.erase(objects, tenant, job_id)
    jobs.bury(job_id, tenant)


def _remove_results(objects: MinioObjects, tenant: str, job_id: str) -> None:
    for listed in objects.results(tenant, job_id):
        objects.remove(RESULTS, listed.key)
