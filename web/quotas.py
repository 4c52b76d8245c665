"""Storage quotas per party: a tenant, or all anonymous tenants at one address together."""

from storage.problems import Problem
from storage.queue.reader import Usage
from web.access.caller import LOCAL, caller
from web.access.party import party_name
from web.services import connected


def usage() -> Usage:
    """Return the jobs and bytes that are stored for the caller's party."""
    return connected().jobs.usage(party_name())


def check_quota(images: int, size: int) -> None:
    """Raise Problem `quota_exceeded` if `images` of `size` bytes would exceed the party's quota.

    Concurrent requests do not see each other's images: a party may exceed its quota by what it has
    in flight.
    """
    if caller() is LOCAL:
        return
    settings, stored = connected().settings, usage()
    if stored.jobs + images > settings.quota_jobs:
        raise Problem("quota_exceeded", f"{stored.jobs} of {settings.quota_jobs} jobs are stored: erase some.")
    if stored.bytes + size > settings.quota_bytes:
        raise Problem("quota_exceeded", f"{stored.bytes} of {settings.quota_bytes} bytes are stored: erase some jobs.")
