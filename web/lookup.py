"""Finds the job that a request names."""

from storage import keys
from storage.job import Job
from storage.problems import Problem
from storage.recovery import find
from web.access.caller import caller
from web.services import connected


def find_job(job_id: str) -> Job:
    """Return the caller's job, rebuilt from its objects if Redis lost it.

    Raises Problem `gone` if it was erased recently, `not_found` otherwise.
    """
    storage = connected()
    if not keys.is_job_id(job_id):
        raise Problem("not_found", "No job has this id.")
    job = find(storage.objects, storage.jobs, caller().tenant, job_id)
    if job is None and storage.jobs.ids.tenant_of_erased(job_id) == caller().tenant:
        raise Problem("gone", "The job was erased.")
    if job is None:
        raise Problem("not_found", "No job has this id.")
    return job
