"""Files of corrected masks: every format gives back exactly the pixels, and a bad item delays no other."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from reviewed import HEIGHT, WIDTH, accepted, consented, grey, ids_of, kept_of, served_ids, with_mask

from learning.review.entries import Unusable
from learning.review.files import Result, accept_all, export
from model.labels import PETS
from storage.connection import Storage
from storage.job import Job
from storage.objects import TRAINING
from storage.training import reviews
from storage.training.decisions import open_review
from storage.training.reviews import MASK, Source, State

COLOURS = np.array([label.color for label in PETS], np.uint8)
SHAPES = [(0, (8, 8, 40, 32)), (2, (12, 12, 20, 20))]  # class, box: the small one lies in the large one


def drawn() -> "np.typing.NDArray[np.uint8]":
    """The shapes over class 1, the background."""
    ids = np.ones((HEIGHT, WIDTH), np.uint8)
    for class_id, (left, top, right, bottom) in SHAPES:
        ids[top:bottom, left:right] = class_id
    return ids


def corners(box: tuple[int, int, int, int]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def png(folder: Path, name: str) -> Path:
    (folder / f"{name}.png").write_bytes(grey(drawn()))
    return folder


def png_in_colours(folder: Path, name: str) -> Path:
    (folder / f"{name}.png").write_bytes(pictures.encoded(Image.fromarray(COLOURS[drawn()]), "PNG"))
    return folder / f"{name}.png"


def coco_file(folder: Path, name: str, segmentations: list[Any], **image: Any) -> Path:
    """The small shape first: the area decides which is on top, not the order."""
    categories = [{"id": 10 + label.id, "name": label.name} for label in PETS]
    annotations = [
        {"id": number, "image_id": 5, "category_id": 10 + class_id, "segmentation": segmentation}
        for number, ((class_id, _), segmentation) in enumerate(zip(SHAPES[::-1], segmentations[::-1], strict=True))
    ]
    images = [{"id": 5, "file_name": f"set/{name}.jpg", "width": WIDTH, "height": HEIGHT, **image}]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def coco_polygons(folder: Path, name: str) -> Path:
    return coco_file(folder, name, [[corners(box)] for _, box in SHAPES])


def whole(box: tuple[int, int, int, int]) -> "np.typing.NDArray[np.uint8]":
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 1
    return pixels


def coco_compressed(folder: Path, name: str) -> Path:
    encoded = [coco.encode(np.asfortranarray(whole(box))) for _, box in SHAPES]
    found = [{"size": [HEIGHT, WIDTH], "counts": one["counts"].decode()} for one in encoded]
    coco_file(folder, name, found)
    return folder


def coco_counted(folder: Path, name: str) -> Path:
    return coco_file(
        folder, name, [{"size": [HEIGHT, WIDTH], "counts": runs(whole(box).T.ravel())} for _, box in SHAPES]
    )


def runs(bits: "np.typing.NDArray[np.uint8]") -> list[int]:
    """Lengths of the runs of 0 and 1 in turn."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bits, [2]])))
    return [int(length) for length in np.diff(np.concatenate([[0], edges]))]


def voc(folder: Path, name: str) -> Path:
    colours = {"pet": (250, 50, 83), "border": (1, 2, 3), "background": (0, 0, 0), "unused": (9, 9, 9)}
    lines = ["# label:color_rgb:parts:actions"]
    lines += [f"{label}:{','.join(map(str, colour))}::" for label, colour in colours.items()]
    table = np.array([colours[label.name] for label in PETS], np.uint8)
    (folder / "SegmentationClass").mkdir()
    (folder / "labelmap.txt").write_text("\n".join(lines))
    image = Image.fromarray(table[drawn()])
    (folder / "SegmentationClass" / f"{name}.png").write_bytes(pictures.encoded(image, "PNG"))
    return folder


def voc_zip(folder: Path, name: str) -> Path:
    source = voc(folder, name)
    with zipfile.ZipFile(folder / "task.zip", "w") as archive:
        for file in sorted(source.rglob("*.*")):
            if file.suffix != ".zip":
                archive.write(file, file.relative_to(source))
    return folder / "task.zip"


def task(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    of_photo = {"original_width": WIDTH, "original_height": HEIGHT}
    annotation = {"result": [{**of_photo, **result} for result in results], "updated_at": "2026-01-02"}
    earlier = {"result": [], "updated_at": "2026-01-01"}
    canceled = {"result": [], "updated_at": "2026-01-03", "was_cancelled": True}
    image = f"/data/upload/1/0a1b2c3d-{name}.jpg"
    return {"data": {"image": image, "title": "x"}, "annotations": [canceled, annotation, earlier]}


def studio_polygons(folder: Path, name: str) -> Path:
    results = []
    for class_id, box in SHAPES:
        flat = corners(box)
        points = [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in zip(flat[::2], flat[1::2], strict=True)]
        results.append({"type": "polygonlabels", "value": {"points": points, "polygonlabels": [PETS[class_id].name]}})
    (folder / "export.json").write_text(json.dumps([task(name, results)]))
    return folder / "export.json"


def packed(alpha: "np.typing.NDArray[np.uint8]") -> list[int]:
    """RGBA words as @thi.ng/rle-pack writes them: run sizes 3, 4, 8 and 16 bits; repeated and literal runs."""
    words = np.repeat(alpha.ravel(), 4)
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    at = 0
    while at < len(words):
        length = 1
        while at + length < len(words) and words[at + length] == words[at] and length < 1 << 16:
            length += 1
        if at == 0:  # the first run word by word, in the smallest size
            length = min(length, 8)
            bits += f"0{0:02b}{length - 1:03b}" + "".join(f"{word:08b}" for word in words[:length])
        else:
            bits += f"1{3:02b}{length - 1:016b}{words[at]:08b}"
        at += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def studio_brushes(folder: Path, name: str) -> Path:
    results = []
    for class_id, box in SHAPES:
        value = {"format": "rle", "rle": packed(whole(box) * 255), "brushlabels": [PETS[class_id].name]}
        results.append({"type": "brushlabels", "value": value})
    (folder / "export.json").write_text(json.dumps([task(name, results)]))
    return folder / "export.json"


WRITERS: dict[Callable[[Path, str], Path], str] = {
    png: "png",
    png_in_colours: "png",
    coco_polygons: "coco",
    coco_compressed: "coco",
    coco_counted: "coco",
    voc: "voc",
    voc_zip: "voc",
    studio_polygons: "labelstudio",
    studio_brushes: "labelstudio",
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_mask_of_every_format_is_accepted_pixel_by_pixel(
    own_store: Storage, tmp_path: Path, write: Callable[[Path, str], Path]
) -> None:
    job = consented(own_store)
    results = list(accept_all(own_store, write(tmp_path, job.id), WRITERS[write], "ops"))
    assert [(result.job_id, result.tenant, result.reason) for result in results] == [(job.id, "local", "")]
    review = open_review(own_store.objects, "local", job.id)
    assert review.decision
    assert (review.decision.source, review.decision.by) == (Source.REVIEWER, "ops")
    assert np.array_equal(ids_of(own_store.objects.get(TRAINING, review.key(MASK)) or b""), drawn())


def refused(storage: Storage, path: Path, format_: str) -> str:
    """The reason why the only item was left out."""
    [result] = accept_all(storage, path, format_, "ops")
    assert (result.job_id, not result.reason) == ("", False)
    return result.reason


def test_each_item_says_why_it_is_left_out_and_the_rest_is_accepted(own_store: Storage, tmp_path: Path) -> None:
    good, unasked, large = consented(own_store), with_mask(own_store, seed=1), consented(own_store, seed=2)
    for job in (good, unasked):
        png(tmp_path, job.id)
    (tmp_path / "holiday.png").write_bytes(grey(drawn()))
    (tmp_path / f"{large.id}.png").write_bytes(grey(np.ones((HEIGHT, WIDTH + 1), np.uint8)))
    (tmp_path / f"x-{large.id}.png").write_bytes(b"no image")
    reasons = {result.name: result.reason for result in accept_all(own_store, tmp_path, "png", "ops")}
    assert reasons.pop(f"{good.id}.png") == ""
    assert "contains no job id" in reasons.pop("holiday.png")
    assert "not in the review inbox" in reasons.pop(f"{unasked.id}.png")
    assert "65 x 48 pixels, the photo 64 x 48" in reasons.pop(f"{large.id}.png")
    assert list(reasons) == [f"x-{large.id}.png"]
    assert kept_of(own_store, large.id) == {"consent.json"}
    assert [review.job_id for review in reviews.accepted(own_store.objects)] == [good.id]


@pytest.mark.parametrize(
    ("segmentations", "reason"),
    [
        ([[[1, 2, 3, 4]], [corners((1, 1, 5, 5))]], "three corners"),
        ([[[1, 2, 3, 4, float("nan"), 5]], [corners((1, 1, 5, 5))]], "three corners"),
        ([{"size": [HEIGHT, WIDTH], "counts": [5, 5]}, [corners((1, 1, 5, 5))]], "do not cover the photo"),
        ([{"size": [HEIGHT, WIDTH], "counts": "0" * 4000}, [corners((1, 1, 5, 5))]], "do not cover"),
        ([{"size": [HEIGHT, WIDTH], "counts": "o"}, [corners((1, 1, 5, 5))]], "damaged"),
        ([{"size": [HEIGHT, WIDTH], "counts": "\xff"}, [corners((1, 1, 5, 5))]], "strange character"),
        ([{"size": [HEIGHT, WIDTH], "counts": None}, [corners((1, 1, 5, 5))]], "damaged"),
        ([{"size": [WIDTH, HEIGHT], "counts": "x"}, [corners((1, 1, 5, 5))]], "size of its run lengths"),
        (["x", [corners((1, 1, 5, 5))]], "neither polygons nor run lengths"),
        ([[5], [corners((1, 1, 5, 5))]], "damaged"),
    ],
)
def test_damaged_coco_shapes(own_store: Storage, tmp_path: Path, segmentations: list[Any], reason: str) -> None:
    job = consented(own_store)
    assert reason in refused(own_store, coco_file(tmp_path, job.id, segmentations), "coco")


def test_run_lengths_of_any_mask_are_read(own_store: Storage, tmp_path: Path) -> None:
    job, rng = consented(own_store), np.random.default_rng(0)
    noise = (rng.random((HEIGHT, WIDTH)) < np.linspace(0, 1, WIDTH)).astype(np.uint8)
    encoded = coco.encode(np.asfortranarray(noise))["counts"].decode()
    small = {"size": [HEIGHT, WIDTH], "counts": encoded}
    path = coco_file(tmp_path, job.id, [[corners((0, 0, WIDTH, HEIGHT))], small])
    assert [result.reason for result in accept_all(own_store, path, "coco", "ops")] == [""]
    review = open_review(own_store.objects, "local", job.id)
    assert np.array_equal(ids_of(own_store.objects.get(TRAINING, review.key(MASK)) or b""), noise * 2)


def test_another_size_and_an_unknown_class(own_store: Storage, tmp_path: Path) -> None:
    job = consented(own_store)
    boxes = [[corners(box)] for _, box in SHAPES]
    assert "32 x 48 pixels, the photo 64 x 48" in refused(
        own_store, coco_file(tmp_path, job.id, boxes, width=32), "coco"
    )
    path = coco_file(tmp_path, job.id, boxes)
    path.write_text(path.read_text().replace('"pet"', '"dog"'))
    assert "unknown class 'dog'; the classes are pet, background, border" in refused(own_store, path, "coco")


def test_a_corner_outside_the_photo_moves_to_its_edge(own_store: Storage, tmp_path: Path) -> None:
    job = consented(own_store)
    beyond = [[-50.0, -50.0, 1e9, -50.0, 1e9, 1e9, -50.0, 1e9]]
    [result] = accept_all(own_store, coco_file(tmp_path, job.id, [beyond, [corners(SHAPES[1][1])]]), "coco", "ops")
    assert result.reason == ""
    review = open_review(own_store.objects, "local", job.id)
    kept = ids_of(own_store.objects.get(TRAINING, review.key(MASK)) or b"")
    assert set(np.unique(kept)) == {0, 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rle: rle[: len(rle) // 2], "ends too early"),
        (lambda rle: [0, 0, 0, 9, *rle[4:]], "another size"),
        (lambda rle: [300, *rle], "damaged"),
    ],
)
def test_a_damaged_brush(
    own_store: Storage, tmp_path: Path, change: Callable[[list[int]], list[int]], reason: str
) -> None:
    job = consented(own_store)
    path = studio_brushes(tmp_path, job.id)
    document = json.loads(path.read_text())
    value = document[0]["annotations"][1]["result"][0]["value"]
    value["rle"] = change(value["rle"])
    path.write_text(json.dumps(document))
    assert reason in refused(own_store, path, "labelstudio")


@pytest.mark.parametrize("format_", ["png", "coco", "voc", "labelstudio"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"images": 1}', b"PK\x03\x04"])
def test_a_file_that_is_no_such_file(own_store: Storage, tmp_path: Path, format_: str, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    if format_ == "labelstudio" and content == b"[]":  # an export without tasks
        assert list(accept_all(own_store, path, format_, "ops")) == []
    elif format_ == "png" and content is not None:  # one mask, whose name contains no job id
        assert "no job id" in refused(own_store, path, format_)
    else:
        with pytest.raises(Unusable, match=str(path)):
            list(accept_all(own_store, path, format_, "ops"))


def exported(storage: Storage, folder: Path, *jobs: Job) -> list[Result]:
    return list(export(storage, [open_review(storage.objects, "local", job.id) for job in jobs], folder))


@pytest.mark.parametrize(("format_", "place"), [("png", "masks"), ("coco", "annotations.json")])
def test_what_is_exported_can_be_imported(own_store: Storage, tmp_path: Path, format_: str, place: str) -> None:
    jobs = [consented(own_store, seed=seed) for seed in range(3)]
    assert [result.reason for result in exported(own_store, tmp_path, *jobs)] == ["", "", ""]
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert labels == [label.to_dict() for label in PETS]
    for job in jobs:
        with Image.open(tmp_path / f"{job.id}.jpg") as photo:
            assert photo.size == (WIDTH, HEIGHT)
    results = list(accept_all(own_store, tmp_path / place, format_, "ops"))
    assert {result.job_id for result in results} == {job.id for job in jobs}
    for seed, job in enumerate(jobs):
        content = own_store.objects.get(TRAINING, f"reviews/local/{job.id}/{MASK}") or b""
        assert np.array_equal(ids_of(content), served_ids(seed))


def test_an_exported_photo_is_upright_and_has_no_metadata(own_store: Storage, tmp_path: Path) -> None:
    job = consented(own_store)
    upright = Image.new("RGB", (WIDTH, HEIGHT), "white")
    ImageDraw.Draw(upright).rectangle((0, 0, 15, 15), fill="black")
    exif = Image.Exif()
    exif[pictures.ORIENTATION], exif[0x010E] = 6, "my home address"
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    own_store.objects.put_upload(job.spec, pictures.encoded(turned, exif=exif.tobytes()))
    exported(own_store, tmp_path, job)
    content = (tmp_path / f"{job.id}.jpg").read_bytes()
    assert b"address" not in content
    with Image.open(io.BytesIO(content)) as photo:
        assert photo.size == (WIDTH, HEIGHT)
        corner, other = photo.getpixel((4, 4)), photo.getpixel((60, 4))
    assert isinstance(corner, tuple)
    assert isinstance(other, tuple)
    assert max(corner) < 60
    assert min(other) > 200


def test_an_accepted_review_can_be_exported_and_corrected_again(own_store: Storage, tmp_path: Path) -> None:
    job = consented(own_store)
    review = accepted(own_store, job)
    assert review.state is State.ACCEPTED
    assert [result.reason for result in exported(own_store, tmp_path, job)] == [""]
    png(tmp_path / "masks", job.id)
    assert [result.reason for result in accept_all(own_store, tmp_path / "masks", "png", "ops")] == [""]
    assert np.array_equal(ids_of(own_store.objects.get(TRAINING, review.key(MASK)) or b""), drawn())
