"""The scores that rank the review inbox."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pictures
import pytest
import reviewed
from PIL import Image
from reviewed import HEIGHT, WIDTH, accepted, consent, consented, kept_of, served_ids
from services import SHIPPED_MODEL

from learning.review import measures
from learning.review.scores import score_waiting
from model.segmenter import Segmenter
from storage import lifecycle
from storage.connection import Storage
from storage.feedback import Verdict
from storage.objects import RESULTS, MinioObjects
from storage.photos.confidence import CONFIDENCE, MOST, pack
from storage.training.decisions import open_review
from storage.training.reviews import SCORES, Scores
from worker.housekeeping import recorder

FLAT = {"red": 0.5, "green": 0.5}


def mask(ids: reviewed.Ids, sureness: np.ndarray) -> bytes:
    """A stored mask with this confidence, float[h,w]."""
    text = pictures.PngInfo()
    values = np.round(sureness * MOST).astype(np.uint8)
    text.add(CONFIDENCE, pack(values.tobytes(), values.shape[1]))
    return pictures.encoded(Image.frombytes("P", ids.shape[::-1], ids.tobytes()), "PNG", pnginfo=text)


def halves() -> reviewed.Ids:
    ids = np.zeros((8, 8), np.uint8)
    ids[:, 4:] = 1
    return ids


def test_doubt_off_boundaries_is_apart_from_doubt_on_them() -> None:
    sureness = np.ones((8, 8))
    sureness[:, 3:5] = 0.5
    found = measures.certainty(mask(halves(), sureness), 2)
    assert found["doubt"] == 0
    assert found["boundary_doubt"] == pytest.approx(1, abs=0.02)
    sureness[:, 0] = 0.5
    assert measures.certainty(mask(halves(), sureness), 2)["doubt"] == pytest.approx(1 / 6, abs=0.01)


def test_entropy_of_two_classes_is_exact_and_of_more_a_bound() -> None:
    sureness = np.full((8, 8), 96 / MOST)
    p = round(96 * 255 / MOST) / 255
    exact = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert measures.certainty(mask(halves(), sureness), 2)["entropy"] == pytest.approx(exact, abs=1e-4)
    most = measures.certainty(mask(halves(), sureness), 3)["entropy"]
    for second in np.linspace(0, 1 - p, 7):
        rest = [q for q in (p, second, 1 - p - second) if q > 0]
        assert -sum(q * np.log(q) for q in rest) / np.log(3) <= (most or 0) + 1e-4


def test_a_mask_without_a_map_has_no_certainty() -> None:
    plain = pictures.encoded(Image.frombytes("P", (8, 8), halves().tobytes()), "PNG")
    assert set(measures.certainty(plain, 2).values()) == {None}


def test_rarity_rises_with_the_distance_and_needs_others() -> None:
    rng = np.random.default_rng(3)
    others = [{name: float(rng.normal(0.5, 0.05)) for name in FLAT} for _ in range(40)]
    assert measures.rarity(FLAT, others[:7]) is None
    usual, odd, odder = (measures.rarity({"red": red, "green": 0.5}, others) or 0 for red in (0.5, 0.8, 1.0))
    assert 0 <= usual < 0.35 < odd < odder < 1
    unseen = measures.rarity({**FLAT, "class 7": 0.9}, others)
    assert unseen is not None
    assert unseen > odd, "a class that no other photo has is rare"


def test_the_priority_is_a_weighted_mean_of_what_is_known() -> None:
    assert measures.priority({"verdict": 1, "flip": 1, "doubt": 1, "rarity": 1, "entropy": 0}) == 1
    assert measures.priority({"verdict": 0, "flip": 0.5, "doubt": None, "rarity": None}) == round(0.125 / 0.65, 4)
    assert measures.priority({"verdict": None, "entropy": 1.0}) == 0


def test_the_mirror_image_of_a_clear_photo_agrees_better() -> None:
    segmenter = Segmenter(SHIPPED_MODEL)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    even = Image.new("RGB", (128, 96), (120, 120, 120))
    symmetric = np.asarray(noise).copy()
    symmetric[:, 64:] = symmetric[:, :64][:, ::-1]
    disagreements = [
        measures.flip_disagreement(segmenter, photo) for photo in (even, Image.fromarray(symmetric), noise)
    ]
    assert all(0 <= found <= 1 for found in disagreements)
    straight, turned = segmenter.masks([noise, noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    assert (disagreements[2] == 0) == np.array_equal(straight, turned[:, ::-1])


def scores_of(storage: Storage, job_id: str) -> Scores:
    found = open_review(storage.objects, "local", job_id).scores
    assert found
    return found


def test_waiting_reviews_are_scored_once(own_store: Storage, tmp_path: Path) -> None:
    own_store.models.publish(SHIPPED_MODEL)
    jobs = [consented(own_store, seed=seed, sureness=0.5 + seed / 40) for seed in range(12)]
    decided = consented(own_store, seed=20)
    accepted(own_store, decided)
    assert score_waiting(own_store, tmp_path, 5) == 5
    assert score_waiting(own_store, tmp_path, 50) == 7
    assert score_waiting(own_store, tmp_path, 50) == 0
    assert SCORES not in kept_of(own_store, decided.id)
    found = [scores_of(own_store, job.id) for job in jobs]
    doubts = [one.parts["doubt"] or 0.0 for one in found]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] > doubts[-1]
    assert all(0 <= one.priority <= 1 and one.parts["flip"] is not None for one in found)
    assert found[0].parts["rarity"] is None, "the first ones had nothing to be compared with"
    assert found[-1].parts["rarity"] is not None
    recorder.record(own_store)
    rows, _ = own_store.reviews.page(open_review(own_store.objects, "local", jobs[0].id).state, 50, None)
    assert [row["priority"] for row in rows] == sorted((one.priority for one in found), reverse=True)
    assert recorder.record_missing(own_store) == 0


def test_a_later_consent_is_scored_again(own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = consented(own_store)
    assert score_waiting(own_store, tmp_path, 9) == 1
    before = scores_of(own_store, job.id)
    assert before.parts["verdict"] == 1
    assert before.parts["flip"] is None, "no such version is published"
    folders = own_store.objects.listing

    def later(self: MinioObjects, bucket: str, prefix: str) -> object:
        """The store's clock may have whole seconds."""
        for one in folders(bucket, prefix):
            yield one.__class__(one.key, one.modified_ms + 5000 * one.key.endswith("consent.json"))

    consent(own_store, job, Verdict.GOOD)
    monkeypatch.setattr(MinioObjects, "listing", later)
    assert score_waiting(own_store, tmp_path, 9) == 1
    assert scores_of(own_store, job.id).priority < before.priority


@pytest.mark.parametrize("end", [lifecycle.erase, lifecycle.expire])
def test_a_job_that_is_erased_while_it_is_scored_leaves_nothing(
    own_store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[..., bool]
) -> None:
    job = consented(own_store)
    put = MinioObjects.put

    def overtaken(self: MinioObjects, bucket: str, key: str, *rest: object) -> None:
        if key.endswith(SCORES):
            assert end(own_store.objects, own_store.jobs, "local", job.id)
        put(self, bucket, key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MinioObjects, "put", overtaken)
    assert score_waiting(own_store, tmp_path, 9) == 0
    assert kept_of(own_store, job.id) == set()


def test_a_review_that_cannot_be_scored_delays_no_other(own_store: Storage, tmp_path: Path) -> None:
    lost, whole = consented(own_store), consented(own_store, seed=1)
    own_store.objects.put_upload(lost.spec, pictures.truncated_jpeg())
    bare = consented(own_store, seed=2)
    own_store.objects.remove(RESULTS, bare.result_key)
    assert score_waiting(own_store, tmp_path, 1) == 1
    assert scores_of(own_store, whole.id).sketch["width"] == round(WIDTH / (WIDTH + HEIGHT), 4)
    assert served_ids(1).shape == (HEIGHT, WIDTH)
    assert score_waiting(own_store, tmp_path, 9) == 0
