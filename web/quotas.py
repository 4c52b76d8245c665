"""How much is kept for one party: a tenant, or all anonymous tenants at one address."""

from storage.job import Usage
from storage.problems import Problem
from web.access.caller import LOCAL, caller
from web.access.party import party
from web.services import connected


def usage() -> Usage:
    """What is kept for the caller's party."""
    return connected().jobs.usage(party() or caller().tenant)


def check_quota(images: int, size: int) -> None:
    """Raises Problem `quota_exceeded` where the caller's party would keep more than its quota.

    Requests that are handled at the same moment do not see each other, so a party may keep as much more as it has
    requests in flight.
    """
    if caller() is LOCAL:
        return
    settings, kept = connected().settings, usage()
    if kept.jobs + images > settings.quota_jobs:
        raise Problem("quota_exceeded", f"{kept.jobs} of {settings.quota_jobs} jobs are kept: erase some.")
    if kept.bytes + size > settings.quota_bytes:
        raise Problem("quota_exceeded", f"{kept.bytes} of {settings.quota_bytes} bytes are kept: erase some jobs.")
