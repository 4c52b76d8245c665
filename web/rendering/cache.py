"""Return a cached rendering, or make one in the caller's turn and cache it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage import renderings
from storage.job import Job
from storage.problems import Problem
from web.rendering.work import rendering
from web.services import connected


@dataclass(frozen=True)
class Request:
    """One rendering. `sources`: bucket and key of each source object. `cost`: peak memory in bytes."""

    job: Job
    etag: str
    content_type: str
    cost: int
    sources: Sequence[tuple[str, str]]


def rendered(wanted: Request, make: Callable[[], bytes]) -> bytes:
    """Return the cached rendering, or call `make` and cache its result.

    A cache hit neither counts against the rate limit nor waits for a turn. Raises Problem `gone` if
    a source is no longer stored.
    """
    if (found := _load(wanted)) is not None:
        return found
    with rendering(wanted.cost):
        if (found := _load(wanted)) is not None:  # another request made it in the meantime
            return found
        content = make()
    _store(wanted, content)
    return content


def _load(wanted: Request) -> bytes | None:
    objects = connected().objects
    found = renderings.load(objects, wanted.job, wanted.etag)
    if found is not None and any(objects.metadata(*source, "") is None for source in wanted.sources):
        raise Problem("gone", "The photo or mask it was made from was erased.")
    return found


def _store(wanted: Request, content: bytes) -> None:
    storage, job = connected(), wanted.job
    renderings.keep(storage.objects, job, wanted.etag, content, wanted.content_type)
    if storage.jobs.get(job.id) is None:  # erased in the meantime: leave nothing behind
        renderings.erase(storage.objects, job.spec.tenant, job.id)
