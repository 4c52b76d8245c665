"""Reviews: what a decision stores, and that an erased job leaves nothing, wherever it is interrupted."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from reviewed import accepted, consent, consented, grey, ids_of, kept_of, put_item, served_ids, with_mask

from storage import clock, keys, lifecycle, object_keys
from storage.connection import Storage, connect
from storage.feedback import CONSENT, Verdict
from storage.job import Job
from storage.objects import TRAINING, UPLOADS, MinioObjects
from storage.problems import Problem, Unavailable
from storage.training import decisions, erasure, reviews
from storage.training.decisions import open_review, reject, stored_mask
from storage.training.reviews import DECISION, MASK, PHOTO, Review, Source, State
from worker.housekeeping import janitor

WHOLE = {"consent.json", "decision.json", "photo", "mask.png"}


def reload(storage: Storage, review: Review) -> Review:
    return open_review(storage.objects, review.tenant, review.job_id)


def erase(storage: Storage, job_id: str) -> bool:
    return lifecycle.erase(storage.objects, storage.jobs, "local", job_id)


def test_only_a_consent_opens_a_review(own_store: Storage) -> None:
    job = with_mask(own_store)
    with pytest.raises(Problem, match="no_consent"):
        open_review(own_store.objects, "local", job.id)
    consent(own_store, job)
    review = open_review(own_store.objects, "local", job.id)
    assert (review.state, review.scores, review.decision) == (State.WAITING, None, None)
    assert review.consent
    assert (review.consent.verdict, review.consent.wording, review.consent.model) == ("bad", CONSENT, "pets/3")
    assert [folder.owner for folder in reviews.folders(own_store.objects)] == [("local", job.id)]
    assert list(reviews.accepted(own_store.objects)) == []


def test_accepting_keeps_photo_mask_and_what_they_are(own_store: Storage) -> None:
    job, before = consented(own_store), clock.now_ms()
    returned = accepted(own_store, job)
    [review] = reviews.accepted(own_store.objects)
    assert review == returned
    assert own_store.objects.get(TRAINING, review.key(PHOTO)) == own_store.objects.get_upload(job.spec)
    assert np.array_equal(ids_of(own_store.objects.get(TRAINING, review.key(MASK)) or b""), served_ids())
    decision = review.decision
    assert decision
    assert decision.subject
    assert (decision.by, decision.source, decision.subject.model) == ("ops", Source.MODEL, "pets/3")
    assert before <= decision.decided_ms <= clock.now_ms()
    assert decision.subject.labels[0] == {"id": 0, "name": "pet", "color": [255, 122, 89]}
    assert (decision.subject.sha256, decision.subject.size) == (job.spec.sha256, (64, 48))
    assert kept_of(own_store, job.id) == WHOLE


def test_the_senders_correction_is_preferred_to_the_models_mask(own_store: Storage) -> None:
    job, theirs = with_mask(own_store), served_ids(7)
    consent(own_store, job, Verdict.CORRECTED, grey(theirs))
    chosen = stored_mask(own_store.objects, own_store.jobs, open_review(own_store.objects, "local", job.id))
    assert chosen.source is Source.SENDER
    assert np.array_equal(ids_of(chosen.grey()), theirs)
    consent(own_store, job, Verdict.GOOD)
    chosen = stored_mask(own_store.objects, own_store.jobs, open_review(own_store.objects, "local", job.id))
    assert chosen.source is Source.MODEL, "the latest consent counts"


def test_a_decision_can_be_changed(own_store: Storage) -> None:
    job = consented(own_store)
    review = accepted(own_store, job)
    rejected = reject(own_store.objects, own_store.jobs, review, by="other", note="blurred")
    assert rejected == reload(own_store, review)
    assert rejected.decision
    assert (rejected.state, rejected.decision.by, rejected.decision.note) == (State.REJECTED, "other", "blurred")
    assert kept_of(own_store, job.id) == {"consent.json", "decision.json"}
    accepted(own_store, job)
    assert kept_of(own_store, job.id) == WHOLE


def test_one_decision_at_a_time(own_store: Storage) -> None:
    job = consented(own_store)
    with own_store.jobs.locks.alone(f"training:{job.id}", 60), pytest.raises(Problem, match="unavailable"):
        accepted(own_store, job)
    accepted(own_store, job)


def expire(storage: Storage, job_id: str) -> None:
    """Let the retention of a job end."""
    storage.jobs.client.zadd(keys.RETAINED, {job_id: 1})
    assert janitor.clean(storage) == 1
    assert storage.jobs.get(job_id) is None


def test_only_accepted_jobs_outlive_their_retention(own_store: Storage) -> None:
    waiting, refused, kept = (consented(own_store, seed=seed) for seed in range(3))
    reject(own_store.objects, own_store.jobs, open_review(own_store.objects, "local", refused.id), by="ops")
    own_store.objects.put(
        TRAINING, object_keys.review("local", waiting.id, PHOTO), b"of an interrupted acceptance", "x/y"
    )
    review = accepted(own_store, kept)
    put_item(own_store, kept)
    for job in (waiting, refused, kept):
        expire(own_store, job.id)
    assert kept_of(own_store, waiting.id) == kept_of(own_store, refused.id) == set()
    assert kept_of(own_store, kept.id) == {*WHOLE, "photo.png"}
    subject = decisions.subject_of(own_store.objects, own_store.jobs, review)
    assert review.decision
    assert subject == review.decision.subject
    corrected = grey(served_ids(5))
    decisions.accept(own_store.objects, own_store.jobs, review, mask=corrected, source=Source.REVIEWER, by="ops")
    chosen = stored_mask(own_store.objects, own_store.jobs, reload(own_store, review))
    assert np.array_equal(ids_of(chosen.content), served_ids(5))
    reject(own_store.objects, own_store.jobs, review, by="ops")
    assert kept_of(own_store, kept.id) == {"photo.png"}, "no janitor would come for a rejected job without an upload"


def test_a_job_whose_retention_ends_is_not_accepted(own_store: Storage) -> None:
    job = consented(own_store)
    own_store.jobs.client.hset(keys.job(job.id), "retained_until_ms", clock.now_ms() + 1000)
    with pytest.raises(Problem, match="gone"):
        accepted(own_store, job)
    assert kept_of(own_store, job.id) == {"consent.json"}


@pytest.mark.parametrize("expired", [False, True])
def test_erasing_a_job_erases_its_training_copies(own_store: Storage, expired: bool) -> None:
    job, other = consented(own_store), consented(own_store, seed=1)
    for one in (job, other):
        accepted(own_store, one)
        put_item(own_store, one)
        put_item(own_store, one, "toys")
    if expired:
        expire(own_store, job.id)
    assert erasure.holds(own_store.objects, "local", job.id)
    assert not erasure.holds(own_store.objects, "another", job.id)
    assert erase(own_store, job.id)
    assert kept_of(own_store, job.id) == set()
    assert not erasure.holds(own_store.objects, "local", job.id)
    assert kept_of(own_store, other.id) == {*WHOLE, "photo.png"}


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[str]]]:
    """Returns a function that lets the n-th change of an object, and all later ones, raise Stopped."""

    def arm(number: int) -> list[str]:
        done: list[str] = []

        def counted(name: str) -> Callable[..., Any]:
            original = getattr(MinioObjects, name)

            def change(self: MinioObjects, bucket: str, key: str, *rest: Any) -> Any:
                if len(done) == number:
                    raise Stopped
                done.append(f"{name} {bucket} {key.rpartition('/')[2]}")
                return original(self, bucket, key, *rest)

            return change

        for name in ("put", "remove"):
            monkeypatch.setattr(MinioObjects, name, counted(name))
        return done

    return arm


@pytest.mark.parametrize("number", range(7))
def test_an_erasure_that_stops_anywhere_is_completed(
    own_store: Storage, stop_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Also by a housekeeper that itself stopped in the middle, and although copies outlive a retention."""
    job = consented(own_store)
    accepted(own_store, job)
    put_item(own_store, job)
    done = stop_at(number)
    with pytest.raises(Stopped):
        erase(own_store, job.id)
    assert len(done) == number
    monkeypatch.undo()
    stop_at(0)
    with pytest.raises(Stopped):
        janitor.clean(own_store)
    monkeypatch.undo()
    assert janitor.clean(own_store) == 1
    assert kept_of(own_store, job.id) == set()
    assert own_store.objects.spec("local", job.id) is None
    assert own_store.jobs.ids.tenant_of_erased(job.id) == "local"


def test_an_interrupted_erasure_of_an_expired_job_is_completed(
    own_store: Storage, stop_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = consented(own_store)
    accepted(own_store, job)
    put_item(own_store, job)
    expire(own_store, job.id)
    stop_at(1)
    with pytest.raises(Stopped):
        erase(own_store, job.id)
    monkeypatch.undo()
    assert kept_of(own_store, job.id)
    assert janitor.clean(own_store) == 0
    assert kept_of(own_store, job.id), "only marks of an hour ago are completed: the request may still run"
    assert erasure.complete(own_store.objects, own_store.jobs, after_ms=0) == [("local", job.id)]
    assert kept_of(own_store, job.id) == set()
    assert not own_store.jobs.erasing.marked("local", job.id)


def test_the_end_of_a_retention_that_stops_anywhere_keeps_accepted_copies(
    own_store: Storage, stop_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = consented(own_store)
    accepted(own_store, job)
    for number in range(3):
        stop_at(number)
        with pytest.raises(Stopped):
            lifecycle.expire(own_store.objects, own_store.jobs, "local", job.id)
        monkeypatch.undo()
    assert janitor.clean(own_store) == 1
    assert kept_of(own_store, job.id) == WHOLE


def decide(storage: Storage, job: Job, state: State) -> None:
    if state is State.ACCEPTED:
        accepted(storage, job)
    elif state is State.REJECTED:
        reject(storage.objects, storage.jobs, open_review(storage.objects, "local", job.id), by="ops")


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", [State.ACCEPTED, State.REJECTED])
def test_a_decision_that_stops_anywhere_leaves_a_whole_one_or_none(
    own_store: Storage,
    stop_at: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    before: State,
    after: State,
) -> None:
    """And no photo that outlives the job's retention, unless the job is accepted."""
    finished = False
    for number in range(6):
        job = consented(own_store, seed=number)
        decide(own_store, job, before)
        stop_at(number)
        try:
            decide(own_store, job, after)
            finished = True
        except Stopped:
            finished = False
        monkeypatch.undo()
        [folder] = reviews.folders(own_store.objects, object_keys.reviews_of("local", job.id))
        review = open_review(own_store.objects, "local", job.id)
        assert review.state is folder.state
        assert not finished or review.state is after
        assert (review in list(reviews.accepted(own_store.objects))) == (review.state is State.ACCEPTED)
        expire(own_store, job.id)
        assert kept_of(own_store, job.id) == (WHOLE if review.state is State.ACCEPTED else set())
    assert finished


@pytest.mark.parametrize("name", ["photo", "mask.png", "decision.json"])
@pytest.mark.parametrize("after", [False, True])
def test_an_acceptance_that_is_overtaken_by_an_erasure_leaves_nothing(
    own_store: Storage, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    """The job is erased before or after each write of the acceptance."""
    job = consented(own_store)
    put = MinioObjects.put

    def overtaken(self: MinioObjects, bucket: str, key: str, *rest: Any) -> None:
        if bucket == TRAINING and key.endswith(name):
            monkeypatch.undo()
            if after:
                put(self, bucket, key, *rest)
            assert erase(connect(own_store.settings), job.id)
        if not after or not key.endswith(name):
            put(self, bucket, key, *rest)

    monkeypatch.setattr(MinioObjects, "put", overtaken)
    with pytest.raises(Problem, match="gone"):
        accepted(own_store, job)
    assert kept_of(own_store, job.id) == set()


@pytest.mark.parametrize("name", ["photo", "mask.png", "decision.json"])
def test_an_acceptance_that_stops_in_the_middle_leaves_nothing_after_an_erasure(
    own_store: Storage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    job = consented(own_store)
    put = MinioObjects.put

    def stopped(self: MinioObjects, bucket: str, key: str, *rest: Any) -> None:
        put(self, bucket, key, *rest)
        if key.endswith(name):
            raise Unavailable("the process ended")

    monkeypatch.setattr(MinioObjects, "put", stopped)
    with pytest.raises(Unavailable):
        accepted(own_store, job)
    monkeypatch.undo()
    assert name in kept_of(own_store, job.id)
    assert erase(own_store, job.id)
    assert kept_of(own_store, job.id) == set()


def test_the_drill_would_see_an_acceptance_that_does_not_look(
    own_store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "_check_erased", lambda *_: None)
    job = consented(own_store)
    put = MinioObjects.put

    def overtaken(self: MinioObjects, bucket: str, key: str, *rest: Any) -> None:
        if key.endswith(DECISION):
            monkeypatch.setattr(MinioObjects, "put", put)
            erase(connect(own_store.settings), job.id)
        put(self, bucket, key, *rest)

    monkeypatch.setattr(MinioObjects, "put", overtaken)
    accepted(own_store, job)
    assert kept_of(own_store, job.id) == {DECISION}


def test_a_job_of_another_tenant_keeps_its_copies(own_store: Storage) -> None:
    job = consented(own_store, "acme")
    accepted(own_store, job)
    erasure.erase(own_store.objects, own_store.jobs, "local", job.id)
    assert kept_of(own_store, job.id) == WHOLE
    assert own_store.objects.get(UPLOADS, object_keys.upload("acme", job.id))
