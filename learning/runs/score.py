"""Ranks the jobs that wait in the review inbox."""

from typing import Any

from learning.review.scores import score_waiting
from learning.steps import Place, Step, whole
from learning.watch import Watch
from storage.training.runs import Spec

REPORT_EVERY = 32


def steps(place: Place, spec: Spec) -> list[Step]:
    return whole(place, spec, score)


def score(place: Place, spec: Spec, watch: Watch) -> dict[str, Any]:  # noqa: ARG001 - the same for all kinds
    def tell(scored: int) -> None:
        if scored % REPORT_EVERY == 0:
            watch.report("scoring", scored)
        else:
            watch.beat()

    return {"scored": score_waiting(place.storage, place.folder, tell=tell)}
