"""Goes through the stored photos in the right order and keeps a limited number of re-runs open.

The loop runs in the process of `segue backfill`. It stores no state of its own: it leaves out each photo whose re-run
exists, so the next run continues after any interruption.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage import clock
from storage.backfill.likelihood import Evidence, by_likelihood, limits
from storage.backfill.reruns import SHORTEST_KEPT_MS, Made, Reruns
from storage.connection import Storage
from storage.records.stored_results import ResultFilter, StoredResult, StoredResults
from storage.rollouts.counts import BINS, bin_of

CHUNK, POLL_S = 64, 0.5


@dataclass(frozen=True)
class Plan:
    """`tenant`: "" for all. `ahead`: how many re-runs may be open at once. `limit`: how many to make; None: all.

    `by_disagreement`: True: the likeliest change first; False: the newest job first.
    `evidence`: see likelihood.py; None if there is none.
    """

    version: str
    tenant: str = ""
    ahead: int = 2000
    limit: int | None = None
    by_disagreement: bool = False
    evidence: Evidence | None = None


def pages(storage: Storage, plan: Plan) -> Iterator[list[StoredResult]]:
    """Pages of the photos without a re-run, in the order of the plan and up to its limit. A page may be empty."""
    reruns, left = Reruns(storage, plan.version), plan.limit
    for page in _ordered(storage, plan):
        found = reruns.missing(page)
        if left is not None:
            found = found[:left]
            left -= len(found)
        yield found
        if left == 0:
            return


def _ordered(storage: Storage, plan: Plan) -> Iterator[list[StoredResult]]:
    stored = StoredResults(storage.database)
    wanted = ResultFilter(plan.version, clock.now_ms() + SHORTEST_KEPT_MS, plan.tenant)
    if not plan.by_disagreement:
        yield from stored.newest_first(wanted)
        return
    for place in by_likelihood(plan.evidence):
        yield from stored.by_confidence(wanted, *limits(place))


def count(storage: Storage, plan: Plan) -> list[int]:
    """How many photos of each bin of confidence a run would segment again."""
    counts = [0] * BINS
    for page in pages(storage, plan):
        for photo in page:
            counts[bin_of(photo.confidence)] += 1
    return counts


def run(storage: Storage, plan: Plan, report: Callable[[Made], None]) -> Made:
    """Make all re-runs of the plan, then close their batches. Calls `report` with the sums after each chunk.

    Raises Unavailable or redis.RedisError during an outage.
    """
    reruns, made = Reruns(storage, plan.version), Made()
    for page in pages(storage, plan):
        while page:
            room = _room(storage, reruns, plan.ahead)
            chunk, page = page[:room], page[room:]  # noqa: PLW2901
            made += reruns.make(chunk)
            report(made)
    reruns.close()
    return made


def _room(storage: Storage, reruns: Reruns, ahead: int) -> int:
    """Wait while new work is refused, and until fewer re-runs than `ahead` are open.

    Returns how many may be made now.
    """
    while (room := ahead - reruns.unfinished()) <= 0 or storage.pausing.refusal():
        time.sleep(POLL_S)
    return min(room, CHUNK)
