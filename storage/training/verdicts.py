"""The gate's verdicts on candidates, in the object store.

gates/{name}/{version}/{digest of what it rests on}.sealed.json    with all figures; for the record
gates/{name}/{version}/{the same}.json                             outcome and reasons; for everybody
"""

import functools
import json
from typing import Any, NamedTuple

from storage import clock, object_keys
from storage.objects import TRAINING, MinioObjects
from storage.s3 import Listed

SEALED, PUBLIC = "sealed.json", "json"
JUDGED = "judged_ms"  # when, in ms UTC
MOST_KEPT = 100_000


class Ruling(NamedTuple):
    """What a verdict decided, and against which stable version."""

    judged_ms: int
    outcome: str
    stable: str


def store(objects: MinioObjects, candidate: str, basis: str, sealed: dict[str, Any], public: dict[str, Any]) -> None:
    """Store the public part, then the sealed one: a sealed part means that both are there.

    `basis`: names the gate set, the held-out corrections, and the version that the candidate was compared with.
    """
    for document, suffix in (({**public, JUDGED: clock.now_ms()}, PUBLIC), (sealed, SEALED)):
        key = object_keys.verdict(candidate, f"{basis}.{suffix}")
        objects.put(TRAINING, key, json.dumps(document).encode(), "application/json")


def sealed(objects: MinioObjects, candidate: str, basis: str) -> dict[str, Any] | None:
    content = objects.get(TRAINING, object_keys.verdict(candidate, f"{basis}.{SEALED}"))
    return dict(json.loads(content)) if content else None


def newest(objects: MinioObjects, candidate: str) -> dict[str, Any] | None:
    """The public part of the newest verdict on the candidate; None if it was never judged.

    The documents hold their own times, because those of some object stores are in whole seconds.
    """
    listed = [
        entry.key for entry in objects.listing(TRAINING, object_keys.verdict(candidate)) if SEALED not in entry.key
    ]
    found = [json.loads(content) for key in listed if (content := objects.get(TRAINING, key))]
    if not found:
        return None
    last: dict[str, Any] = max(found, key=lambda document: document[JUDGED])
    return {name: value for name, value in last.items() if name != JUDGED}


def rulings(objects: MinioObjects) -> dict[str, Ruling]:
    """Candidate → the newest ruling on it.

    A process reads each verdict once: they never change, and the housekeeper looks at all of them every few seconds.
    """
    found: dict[str, Ruling] = {}
    for entry in objects.listing(TRAINING, object_keys.VERDICTS):
        ruling = None if SEALED in entry.key else _ruling(objects, entry)
        if ruling:
            candidate = object_keys.judged_candidate(entry.key)
            found[candidate] = max(ruling, found.get(candidate, ruling))
    return found


@functools.lru_cache(MOST_KEPT)
def _ruling(objects: MinioObjects, entry: Listed) -> Ruling | None:
    """None if the object has been removed since it was listed."""
    content = objects.get(TRAINING, entry.key)
    if content is None:
        return None
    document = json.loads(content)
    return Ruling(document[JUDGED], document["outcome"], document["stable"])
