"""A rendering that was made before, or a new one in the caller's turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage import renderings
from storage.job import Job
from storage.problems import Problem
from web.rendering.work import rendering
from web.services import connected


@dataclass(frozen=True)
class Request:
    """`sources`: bucket and key of each object that it is made of. `cost`: bytes of memory."""

    job: Job
    etag: str
    content_type: str
    cost: int
    sources: Sequence[tuple[str, str]]


def rendered(wanted: Request, make: Callable[[], bytes]) -> bytes:
    """Only the request that makes it counts and waits. Raises Problem `gone` where a source is not stored any more."""
    if (found := _load(wanted)) is not None:
        return found
    with rendering(wanted.cost):
        if (found := _load(wanted)) is not None:  # another request made it meanwhile
            return found
        content = make()
    _keep(wanted, content)
    return content


def _load(wanted: Request) -> bytes | None:
    objects = connected().objects
    found = renderings.load(objects, wanted.job, wanted.etag)
    if found is not None and any(objects.metadata(*source, "") is None for source in wanted.sources):
        raise Problem("gone", "What it was made of is not stored any more.")
    return found


def _keep(wanted: Request, content: bytes) -> None:
    storage, job = connected(), wanted.job
    renderings.keep(storage.objects, job, wanted.etag, content, wanted.content_type)
    if storage.jobs.get(job.id) is None:  # erased meanwhile: nothing may stay behind
        renderings.erase(storage.objects, job.spec.tenant, job.id)
