"""Scores reviews that have no current scores. Any number of processes may do so at once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learning.review import measures
from learning.review.measures import Parts, Sketch
from model.engines import ENGINES, EngineUnavailable, choose
from model.segmenter import Segmenter
from storage import clock, object_keys
from storage.connection import Storage
from storage.keys import Owner
from storage.model_files import ModelError
from storage.objects import RESULTS
from storage.photos.class_ids import served_ids
from storage.photos.photo import decode
from storage.problems import Problem
from storage.training import reviews
from storage.training.reviews import CONSENT, SCORES, Folder, Review, Scores, State

LOCKED_S = 120.0
MOST_COMPARED = 200  # the latest scored reviews: rarity is relative to them

log = logging.getLogger(__name__)


def score_waiting(
    storage: Storage, folder: Path, at_most: int | None = None, tell: Callable[[int], None] = lambda _: None
) -> int:
    """Score up to `at_most` waiting reviews, by default all, the oldest first, and return how many.

    `folder`: for downloaded model versions. Scores reviews that have no scores, and those whose
    consent is newer than their scores. `tell`: called after each with the number scored so far. Raises Unavailable.
    """
    scorer, scored = _Scorer(storage, folder), 0
    for owner in _unscored(storage):
        if scored == at_most:
            break
        with storage.jobs.locks.alone(f"training:score:{owner[1]}", LOCKED_S) as chosen:
            scored += chosen and scorer.score(owner)
        tell(scored)
    return scored


def _unscored(storage: Storage) -> Iterator[Owner]:
    for folder in reviews.folders(storage.objects):
        if folder.state is State.WAITING and _is_due(folder):
            yield folder.owner


def _is_due(folder: Folder) -> bool:
    given_ms = folder.names.get(CONSENT)
    return given_ms is not None and folder.names.get(SCORES, 0) < given_ms


@dataclass
class _Scorer:
    storage: Storage
    folder: Path

    def __post_init__(self) -> None:
        self._others: dict[Owner, Sketch] | None = None
        self._loaded: tuple[str, Segmenter | None] = ("", None)

    def score(self, owner: Owner) -> bool:
        """False if, meanwhile, another process scored or decided the review, or the job was erased."""
        objects = self.storage.objects
        folder = next(reviews.folders(objects, object_keys.reviews_of(*owner)), None)
        review = reviews.load(objects, *owner)
        if folder is None or folder.state is not State.WAITING or not _is_due(folder) or review is None:
            return False
        try:
            made = self._scores(review)
        except Problem as problem:
            log.warning("review_not_scored", extra={"job": review.job_id, "error": problem.code})
            return False
        if made is None:
            return False
        reviews.put_document(objects, review.key(SCORES), made)
        reviews.note(self.storage.jobs, *owner)
        if objects.spec(*owner) is None:  # erased in the meantime: leave nothing behind
            reviews.end_retention(objects, self.storage.jobs, *owner)
            return False
        self.others[owner] = made.sketch
        return True

    @property
    def others(self) -> dict[Owner, Sketch]:
        """The sketches of the latest scored reviews."""
        if self._others is None:
            objects = self.storage.objects
            scored = [folder.owner for folder in reviews.folders(objects) if folder.scored]
            latest = sorted(scored, key=lambda owner: owner[1])[-MOST_COMPARED:]
            loaded = {owner: reviews.load(objects, *owner) for owner in latest}
            self._others = {owner: one.scores.sketch for owner, one in loaded.items() if one and one.scores}
        return self._others

    def _scores(self, review: Review) -> Scores | None:
        """None if the job was erased. Raises Problem for a photo that cannot be decoded."""
        objects, owner = self.storage.objects, (review.tenant, review.job_id)
        spec = objects.spec(*owner)
        content = objects.get_upload(spec) if spec else None
        ending = objects.ending(objects.results(*owner))
        mask = objects.get(RESULTS, ending[0].key) if ending else None
        result = ending[1].result if ending else None
        if content is None or result is None or mask is None or review.consent is None:
            return None
        _, photo = decode(content, self.storage.settings)
        ids = np.asarray(served_ids(mask))
        drawn = measures.sketch(photo, ids)
        segmenter = self._segmenter(review.consent.model)
        parts: Parts = {
            **measures.certainty(mask, len(result["classes"])),
            "flip": round(measures.flip_disagreement(segmenter, photo), 4) if segmenter else None,
            "verdict": measures.verdict(review.consent.verdict),
            "rarity": measures.rarity(drawn, [one for other, one in self.others.items() if other != owner]),
        }
        return Scores(measures.priority(parts), parts, drawn, review.consent.model, clock.now_ms())

    def _segmenter(self, version: str) -> Segmenter | None:
        """The version that made the mask; None if it was removed or cannot be loaded here."""
        if self._loaded[0] != version:
            self._loaded = version, self._load(version)
        return self._loaded[1]

    def _load(self, version: str) -> Segmenter | None:
        place = self.folder / version
        try:
            engine = choose(self.storage.settings.engine)
            self.storage.models.fetch(version, place, ENGINES[engine].file)
            return Segmenter(place, engine)
        except (EngineUnavailable, ModelError, ValueError) as error:
            log.warning("model_not_loaded", extra={"model": version, "error": str(error)})
            return None
