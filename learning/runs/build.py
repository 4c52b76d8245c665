"""Builds a data set version from the base of the previous version and the accepted corrections.

The first step stores the list of corrections. Then any number of trainers prepare parts of the list, and the last step
assembles the version. Corrections that the previous version has are not prepared again.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from typing import TypedDict

from learning.data.corrections import Corrected, prepare_correction
from learning.data.splits import Assembly
from learning.steps import Place, Step, finish
from learning.watch import Watch
from storage.connection import Storage
from storage.training import reviews
from storage.training.datasets import Erased, Item, Manifest, Split
from storage.training.runs import Spec
from storage.training.submitting import BuildParameters

PLAN = "plan.json"
PART = 16  # corrections that a trainer prepares under one lease
MOST_TICKETS = 16
DOWNLOADERS, CHUNK = 8, 256


class Planned(TypedDict):
    """The job of an accepted correction."""

    tenant: str
    job_id: str


class Plan(TypedDict):
    """What the first step stores. `parent`: the number of the previous version."""

    parent: int
    corrections: list[Planned]


def steps(place: Place, spec: Spec) -> list[Step]:
    storage, runs = place.storage, place.storage.runs
    content = runs.get(spec.id, PLAN)
    if content is None:
        return [Step("plan", lambda: runs.get(spec.id, PLAN) is not None, partial(_plan, storage, spec))]
    plan: Plan = json.loads(content)
    done, parts = runs.parts(spec.id), range(-(-len(plan["corrections"]) // PART))
    if waiting := [number for number in parts if number not in done]:
        return [
            Step(
                str(number),
                partial(_part_is_done, storage, spec, number),
                partial(_prepare, storage, spec, plan, number),
            )
            for number in waiting
        ]
    return [Step("", lambda: runs.outcome(spec.id) is not None, partial(_assemble, storage, spec, plan))]


def _plan(storage: Storage, spec: Spec, watch: Watch) -> None:
    """Store the number of the previous version and the accepted corrections, the oldest job first."""
    watch.report("planning")
    parent = storage.datasets.manifest(_wanted(spec).dataset)
    found = sorted((review.job_id, review.tenant) for review in reviews.accepted(storage.objects))
    corrections: list[Planned] = [{"tenant": tenant, "job_id": job_id} for job_id, tenant in found]
    plan: Plan = {"parent": parent.number, "corrections": corrections}
    storage.runs.put(spec.id, PLAN, json.dumps(plan).encode())
    for _ in range(min(MOST_TICKETS, len(found) // PART)):  # this trainer takes one part itself
        storage.tickets.train()


def _part_is_done(storage: Storage, spec: Spec, number: int) -> bool:
    return number in storage.runs.parts(spec.id)


def _prepare(storage: Storage, spec: Spec, plan: Plan, number: int, watch: Watch) -> None:
    parent = _parent(storage, spec, plan)
    known = {item.job_id: item for item in parent.corrections}
    prepared = []
    for entry in plan["corrections"][number * PART : (number + 1) * PART]:
        watch.beat()
        review = reviews.load(storage.objects, entry["tenant"], entry["job_id"])
        if review and review.decision and review.accepted:
            found = prepare_correction(storage, parent, review, review.decision, known.get(review.job_id))
            prepared.append(asdict(found))
    storage.runs.put(spec.id, f"parts/{number}.json", json.dumps(prepared).encode())
    done = len(storage.runs.parts(spec.id))
    watch.report("preparing", done, -(-len(plan["corrections"]) // PART))


def _assemble(storage: Storage, spec: Spec, plan: Plan, watch: Watch) -> None:
    watch.report("assembling")
    parent = _parent(storage, spec, plan)
    prepared = list(_prepared(storage, spec))
    _unpublish_unfinished(storage, spec, parent.name)
    while True:
        manifest = _assembled(storage, spec, parent, prepared, watch)
        storage.datasets.publish(manifest)
        if not storage.datasets.erased(manifest):
            break
        storage.datasets.unpublish(manifest)  # a photo was erased just now: leave it out
    held_out = len(manifest.of(Split.HELD_OUT))
    result = {"dataset": manifest.id, "corrections": len(manifest.corrections), "held_out": held_out,
              "left_out": len(manifest.left_out)}  # fmt: skip
    finish(storage, spec, result)


def _unpublish_unfinished(storage: Storage, spec: Spec, name: str) -> None:
    """Remove what an interrupted try of this run has published if a photo of it was erased since."""
    number = _wanted(spec).number
    if number in storage.datasets.versions(name):
        earlier = storage.datasets.manifest(f"{name}/{number}")
        if storage.datasets.erased(earlier):
            storage.datasets.unpublish(earlier)


def _assembled(storage: Storage, spec: Spec, parent: Manifest, prepared: list[Corrected], watch: Watch) -> Manifest:
    stored = storage.datasets.stored_corrections(parent.name)
    there = [one for one in prepared if one.reason or {one.photo, one.mask} <= stored]
    base: tuple[Item, ...] = tuple(item for item in parent.items if not item.job_id)
    assembly = Assembly(base)
    with ThreadPoolExecutor(DOWNLOADERS) as pool:
        for start in range(0, len(there), CHUNK):
            some = there[start : start + CHUNK]
            for one, thumbnail in zip(some, pool.map(partial(_thumbnail, storage), some), strict=True):
                if thumbnail is not None:
                    assembly.add(one, thumbnail)
            watch.beat()
    return replace(
        parent, number=_wanted(spec).number, parent=parent.number, created_ms=spec.created_ms,
        items=(*base, *assembly.items), left_out=tuple(assembly.left_out),
    )  # fmt: skip


def _thumbnail(storage: Storage, one: Corrected) -> bytes | None:
    """b"" for a correction that could not be prepared, None for one that was erased just now."""
    try:
        return b"" if one.reason else one.thumbnail(storage)
    except Erased:
        return None


def _prepared(storage: Storage, spec: Spec) -> Iterator[Corrected]:
    for number in sorted(storage.runs.parts(spec.id)):
        for entry in json.loads(storage.runs.get(spec.id, f"parts/{number}.json") or b"[]"):
            yield Corrected(**entry)


def _parent(storage: Storage, spec: Spec, plan: Plan) -> Manifest:
    return storage.datasets.manifest(f"{_wanted(spec).dataset}/{plan['parent']}")


def _wanted(spec: Spec) -> BuildParameters:
    return BuildParameters.model_validate(spec.parameters)
