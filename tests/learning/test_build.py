"""Data set versions: what a build makes of a base and of accepted corrections."""

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import shapes
import teaching
from PIL import Image, ImageOps
from services import SHIPPED_MODEL

from learning.data import corrections as corrections_module
from learning.data.base import import_base
from learning.data.folder import bring
from learning.trainer import Trainer
from model.data import examples, labels_of
from storage import keys, object_keys
from storage.connection import Storage
from storage.objects import DATASETS, TRAINING
from storage.training import erasure, reviews, submitting
from storage.training.datasets import DatasetError, Manifest, Split
from storage.training.reviews import MASK, PHOTO, Decision, Source, State, Subject
from storage.training.runs import Kind, Status

NAMES = [label["name"] for label in shapes.LABELS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return teaching.data_folder(tmp_path / "data", train=60, test=6, gate=40)


@pytest.fixture
def storage(own_store: Storage, folder: Path) -> Storage:
    """With version 1 of the data set `shapes`: 20 training photos, 40 gate photos, 6 test photos."""
    import_base(own_store, "shapes", folder, lambda *_: None)
    return own_store


def accept(
    storage: Storage, photo: Image.Image | bytes, mask: Image.Image, *, names: list[str] = NAMES, job_id: str = ""
) -> str:
    """Store an accepted review, as a reviewer's decision does. Returns its job id."""
    job_id = job_id or keys.new_job_id()
    content = photo if isinstance(photo, bytes) else pictures.encoded(photo, quality=92)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    labels = [{"id": index, "name": name, "color": [0, 0, 0]} for index, name in enumerate(names)]
    subject = Subject("shapes/1", labels, "", mask.width, mask.height)
    for name, data in ((PHOTO, content), (MASK, buffer.getvalue())):
        storage.objects.put(TRAINING, object_keys.review("ann", job_id, name), data, "application/octet-stream")
    decision = Decision(State.ACCEPTED, "reviewer", 5, "", Source.SENDER, subject)
    reviews.put_document(storage.objects, object_keys.review("ann", job_id, reviews.DECISION), decision)
    return job_id


def accept_some(storage: Storage, seeds: Iterator[int] | range) -> list[str]:
    return [accept(storage, *shapes.picture(seed)) for seed in seeds]


def trainer(storage: Storage, folder: Path) -> Trainer:
    return Trainer(storage, "trainer-1", folder, lambda: False)


def built(storage: Storage, folder: Path) -> Manifest:
    spec = submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me")
    trainer(storage, folder).work()
    outcome = storage.runs.outcome(spec.id)
    assert outcome
    assert outcome.status is Status.SUCCEEDED, outcome.reason
    return storage.datasets.manifest(outcome.result["dataset"])


def of_job(manifest: Manifest, job_id: str) -> Split | str | None:
    """What the version uses a job's photo for, or why it leaves it out; None if it knows nothing of it."""
    found = {item.job_id: item.split for item in manifest.corrections}
    why = {entry.job_id: entry.reason for entry in manifest.left_out}
    return found.get(job_id) or why.get(job_id)


def traces(storage: Storage, job_id: str) -> list[str]:
    stored = [listed.key for bucket in (DATASETS, TRAINING) for listed in storage.objects.listing(bucket, "")]
    return [key for key in stored if job_id in key]


def test_the_base_is_version_1(storage: Storage, folder: Path, tmp_path: Path) -> None:
    manifest = storage.datasets.manifest("shapes/1")
    counts = {split: len(manifest.of(split)) for split in Split}
    assert counts == {"train": 19, "validation": 1, "gate": 40, "held_out": 0, "test": 6}
    assert import_base(storage, "shapes", folder, lambda *_: None) == manifest
    shapes.write_data(tmp_path / "other", 30, 3)
    with pytest.raises(DatasetError, match="exists with other photos"):
        import_base(storage, "shapes", tmp_path / "other", lambda *_: None)


def test_twins_of_judges_do_not_enter_the_base(own_store: Storage, folder: Path) -> None:
    """A mirrored, brighter copy of a gate photo in the training list."""
    gate, train = (examples(folder, split)[0] for split in ("gate", "train"))
    with Image.open(gate.photo) as photo:
        ImageOps.mirror(photo).point(lambda value: min(255, value + 12)).save(train.photo, quality=60)
    manifest = import_base(own_store, "shapes", folder, lambda *_: None)
    assert train.name not in {item.name for item in manifest.items}


def test_a_version_arrives_as_training_reads_it(storage: Storage, folder: Path, tmp_path: Path) -> None:
    manifest = storage.datasets.manifest("shapes")
    place = bring(storage, manifest, tmp_path / "brought", (Split.TRAIN, Split.VALIDATION), lambda: None)
    assert labels_of(place) == labels_of(folder)
    assert len(examples(place, "train")) == 19
    assert not examples(place, "gate")  # a training never receives them
    original = {pair.name: pair for pair in examples(folder, "train")}
    for pair in examples(place, "train"):
        (_, mask), (_, truth) = pair.open(), original[pair.name].open()
        np.testing.assert_array_equal(np.asarray(mask), np.asarray(truth))


def test_content_decides_about_the_split(storage: Storage, tmp_path: Path) -> None:
    jobs = accept_some(storage, range(100, 160))
    manifest = built(storage, tmp_path)
    splits = [of_job(manifest, job_id) for job_id in jobs]
    assert 8 <= splits.count(Split.HELD_OUT) <= 29
    assert splits.count(Split.TRAIN) > splits.count(Split.VALIDATION) > 0
    more = accept_some(storage, range(200, 205))
    later = built(storage, tmp_path)
    assert (manifest.number, later.number, later.parent) == (2, 3, 2)
    assert [of_job(later, job_id) for job_id in jobs] == splits
    assert all(of_job(later, job_id) in Split for job_id in more)
    assert later.of(Split.GATE) == manifest.of(Split.GATE)


def test_what_was_prepared_is_not_prepared_again(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_some(storage, range(100, 120))
    first = built(storage, tmp_path)
    prepared: list[int] = []
    prepare = corrections_module.prepare
    monkeypatch.setattr(corrections_module, "prepare", lambda *sides: prepared.append(1) or prepare(*sides))
    (new,) = accept_some(storage, range(300, 301))
    second = built(storage, tmp_path)
    assert len(prepared) == 1
    assert {item for item in second.corrections if item.job_id != new} == set(first.corrections)


def test_pictures_that_are_known_are_left_out(storage: Storage, folder: Path, tmp_path: Path) -> None:
    photo, mask = shapes.picture(100)
    first = accept(storage, photo, mask)
    again = accept(storage, photo, mask)
    mirrored = accept(storage, ImageOps.mirror(photo), ImageOps.mirror(mask))
    judge, learned = (examples(folder, split)[3].open() for split in ("gate", "train"))
    of_gate, of_train = accept(storage, *judge), accept(storage, *learned)
    manifest = built(storage, tmp_path)
    assert of_job(manifest, first) in Split
    for job_id in (again, mirrored):
        assert of_job(manifest, job_id) == f"it shows the same picture as {first}"
    assert "is kept for judging" in str(of_job(manifest, of_gate))
    assert of_job(manifest, of_train) is Split.TRAIN


def test_masks_are_translated_by_the_names_of_classes(storage: Storage, tmp_path: Path) -> None:
    photo, mask = shapes.picture(100)
    swapped = mask.point(lambda value: 1 - value)
    good = accept(storage, photo, swapped, names=NAMES[::-1])
    strange = accept(storage, *shapes.picture(101), names=["ground", "cloud"])
    manifest = built(storage, tmp_path)
    (item,) = [item for item in manifest.corrections if item.job_id == good]
    with Image.open(io.BytesIO(storage.datasets.get(item.mask, item.mask_sha256))) as stored:
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(mask))
    assert of_job(manifest, strange) == "the data set has no class cloud"


def test_a_photo_that_cannot_be_read_is_left_out(storage: Storage, tmp_path: Path) -> None:
    photo, mask = shapes.picture(100)
    damaged = accept(storage, b"no photo", mask)
    small = accept(storage, photo.resize((20, 20)), mask)
    manifest = built(storage, tmp_path)
    assert of_job(manifest, damaged)
    assert "20 x 20 pixels, the mask 128 x 128" in str(of_job(manifest, small))


@pytest.mark.parametrize("after", range(0, 24, 3))
def test_a_killed_build_loses_and_repeats_nothing(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The process dies at its n-th write; another trainer goes on."""

    class Killed(BaseException):
        pass

    jobs = accept_some(storage, range(100, 108))
    writes, put = [0], type(storage.objects).put

    def dying(*arguments: Any, **more: Any) -> None:
        writes[0] += 1
        if writes[0] == after:
            raise Killed
        put(*arguments, **more)

    spec = submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me")
    monkeypatch.setattr(type(storage.objects), "put", dying)
    if after:
        with pytest.raises(Killed):
            trainer(storage, tmp_path).work()
    trainer(storage, tmp_path).work()
    outcome = storage.runs.outcome(spec.id)
    assert outcome
    assert outcome.result["corrections"] == len(jobs)
    assert storage.datasets.versions("shapes") == [1, 2]
    held = {key for item in storage.datasets.manifest("shapes/2").corrections for key in (item.photo, item.mask)}
    assert storage.datasets.stored_corrections("shapes") == held


def test_several_trainers_share_a_build(storage: Storage, tmp_path: Path) -> None:
    accept_some(storage, range(100, 150))
    spec = submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me")
    threads = [threading.Thread(target=trainer(storage, tmp_path / str(n)).work) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trainer(storage, tmp_path).work()  # those three may have ended while another one held the last step
    outcome = storage.runs.outcome(spec.id)
    assert outcome
    assert outcome.result["corrections"] == 50
    assert storage.datasets.versions("shapes") == [1, 2]


@pytest.mark.parametrize("step", ["planned", "prepared", "listed", "published"])
def test_an_erased_photo_leaves_no_trace_in_a_new_version(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    jobs = accept_some(storage, range(100, 110))
    erased = jobs[4]

    def erase() -> None:
        if traces(storage, erased):
            erasure.erase(storage.objects, storage.jobs, "ann", erased)

    def before(owner: Any, name: str, act: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def replaced(*arguments: Any, **more: Any) -> Any:
            act()
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, replaced)

    if step == "planned":
        before(corrections_module, "prepare", erase)
    elif step == "prepared":
        before(type(storage.datasets), "stored_corrections", erase)
    elif step == "listed":
        before(type(storage.datasets), "get", erase)
    else:
        before(type(storage.datasets), "erased", erase)
    manifest = built(storage, tmp_path)
    assert of_job(manifest, erased) is None
    assert erased not in manifest.to_json()
    assert len(manifest.corrections) == 9
    assert not traces(storage, erased)


def test_a_photo_that_is_erased_while_a_build_is_down_ends_no_build(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer dies after it has published the version, and before it has stored the outcome."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    jobs = accept_some(storage, range(100, 110))
    spec = submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(storage.runs), "finish", kill)
        trainer(storage, tmp_path).work()
    assert storage.datasets.versions("shapes") == [1, 2]
    erasure.erase(storage.objects, storage.jobs, "ann", jobs[4])
    trainer(storage, tmp_path).work()
    outcome = storage.runs.outcome(spec.id)
    assert outcome
    assert (outcome.status, outcome.result["corrections"]) == (Status.SUCCEEDED, 9), outcome.reason
    assert jobs[4] not in storage.datasets.manifest("shapes/2").to_json()


@pytest.mark.parametrize("name", ["../../evil", "cats/1", "..", ".hidden", "a\\b"])
def test_a_name_that_is_no_files_name_is_not_imported(own_store: Storage, folder: Path, name: str) -> None:
    """Trainers make paths of it."""
    with (folder / "splits" / "train.txt").open("a") as listing:
        listing.write(f"{name}\n")
    first = examples(folder, "gate")[0]
    for kind, suffix, source in (("images", "jpg", first.photo), ("masks", "png", first.mask)):
        path = folder / kind / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.read_bytes())
    with pytest.raises(DatasetError, match="is not a photo's name"):
        import_base(own_store, "shapes", folder, lambda *_: None)
    assert own_store.datasets.versions("shapes") == []


def test_a_line_of_spaces_names_no_photo(own_store: Storage, folder: Path) -> None:
    with (folder / "splits" / "train.txt").open("a") as listing:
        listing.write("  \n\n")
    assert len(import_base(own_store, "shapes", folder, lambda *_: None).items) == 66


def test_a_damaged_photo_of_the_base_is_named(own_store: Storage, folder: Path) -> None:
    photo = examples(folder, "gate")[1]
    photo.photo.write_bytes(b"no photo")
    with pytest.raises(DatasetError, match=photo.name):
        import_base(own_store, "shapes", folder, lambda *_: None)


def test_a_version_with_an_erased_photo_is_withdrawn(storage: Storage, tmp_path: Path) -> None:
    storage.models.publish(SHIPPED_MODEL)
    jobs = accept_some(storage, range(100, 110))
    manifest = built(storage, tmp_path)
    erasure.erase(storage.objects, storage.jobs, "ann", jobs[0])
    assert storage.datasets.erased(manifest) == [jobs[0]]
    with pytest.raises(DatasetError, match="shapes/2 is withdrawn: 1 of its photos were erased"):
        submitting.submit(storage, Kind.TRAIN, {"dataset": "shapes/2"}, "me")
    later = built(storage, tmp_path)
    assert of_job(later, jobs[0]) is None
    assert not storage.datasets.erased(later)


def test_numbers_are_not_given_twice(storage: Storage) -> None:
    specs = [submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me") for _ in range(2)]
    assert [spec.parameters["number"] for spec in specs] == [2, 3]
    repeated = submitting.submit(storage, Kind.BUILD, {"dataset": "shapes"}, "me", run_id=specs[0].id)
    assert replace(repeated) == specs[0]
