"""The statistics of a photo, and the profiles made of them."""

from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageFilter
from services import SHIPPED_MODEL

from model.data import Example, examples
from model.inputs import (
    BINS,
    EDGES,
    FORMATS,
    INPUTS,
    MOST_PHOTOS,
    deciles,
    of_pixels,
    of_size,
    profile,
    training_photos,
)
from model.segmenter import Segmenter
from storage.inputs.drift import compare
from storage.inputs.profile import Profile
from storage.photos import formats


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(SHIPPED_MODEL)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("photos")
    made = []
    for number in range(40):
        example = Example(str(number), folder / f"{number}.jpg", folder / f"{number}.png", 0)
        pictures.photo(40 + number, 60, number).save(example.photo, "JPEG" if number % 4 else "PNG")
        Image.new("L", (40 + number, 60)).save(example.mask)
        made.append(example)
    return made


def measured(photo: Image.Image) -> dict[str, float]:
    return {name: float(value) for name, value in of_pixels(np.asarray(photo)).items()}


def test_the_statistics_of_a_plain_colour() -> None:
    found = measured(Image.new("RGB", (8, 8), (200, 100, 10)))
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 10)
    assert found == pytest.approx(
        {"brightness": luma / 255, "contrast": 0, "chroma": 190 / 255, "warmth": 190 / 255, "sharpness": 0}
    )


def test_the_statistics_are_those_of_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    luma = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))
    padded = np.pad(luma, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    means = pixels.mean((0, 1)) / 255
    assert of_pixels(pixels) == pytest.approx(
        {
            "brightness": luma.mean() / 255, "contrast": luma.std() / 255,
            "chroma": (pixels.max(-1) - pixels.min(-1)).mean() / 255, "warmth": means[0] - means[2],
            "sharpness": laplacian.var(),
        },
        rel=1e-3,
    )  # fmt: skip


def test_each_statistic_follows_its_change() -> None:
    photo = pictures.photo(192, 192).convert("RGB")
    before, pixels = measured(photo), np.asarray(photo)
    assert measured(Image.fromarray(pixels // 2))["brightness"] < 0.6 * before["brightness"]
    assert measured(Image.fromarray(pixels // 2 + 64))["contrast"] < 0.6 * before["contrast"]
    assert measured(photo.convert("L").convert("RGB"))["chroma"] == 0
    assert measured(Image.fromarray(pixels[..., ::-1].copy()))["warmth"] == pytest.approx(-before["warmth"])
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    sharp = Image.fromarray(noise)
    assert measured(sharp.filter(ImageFilter.GaussianBlur(2)))["sharpness"] < 0.1 * measured(sharp)["sharpness"]


def test_the_size_of_a_photo() -> None:
    assert of_size(4000, 3000, "HEIF") == {"megapixels": 12.0, "aspect": 1.33, "format": "HEIF"}
    assert of_size(341, 256, "JPEG")["aspect"] == 1.33


def test_every_accepted_format_is_a_category() -> None:
    assert set(FORMATS) == {one.name for one in formats.FORMATS}


def test_deciles_are_values_and_hold_a_tenth_each() -> None:
    values = np.random.default_rng(0).random(200)
    found = deciles(values)
    assert set(found["edges"]) <= set(values.tolist())
    assert len(found["edges"]) == BINS - 1
    assert sum(found["counts"]) == 200
    assert max(found["counts"]) - min(found["counts"]) <= 2
    assert deciles(np.ones(5)) == {"edges": [1.0], "counts": [0, 5]}


def test_a_profile_of_resized_photos(segmenter: Segmenter, pairs: list[Example]) -> None:
    made = Profile.from_json(profile(segmenter, pairs).encode())
    assert made.photos == len(pairs)
    unknown = {name for name, bins in made.features.items() if not bins.counts}
    assert unknown == {"megapixels", "aspect", "format"}
    assert {sum(bins.counts) for bins in made.features.values()} == {0, len(pairs)}
    assert made.features["megapixels"].edges == EDGES["megapixels"]
    assert {f"share:{label.name}" for label in segmenter.card.labels} <= made.features.keys()


def test_a_profile_of_originals(segmenter: Segmenter, pairs: list[Example]) -> None:
    made = Profile.from_json(profile(segmenter, pairs, originals=True).encode())
    assert all(bins.counts for bins in made.features.values())
    counts = dict(zip((*FORMATS, "other"), made.features["format"].counts, strict=True))
    assert (counts["JPEG"], counts["PNG"], sum(counts.values())) == (30, 10, 40)


def test_a_profile_needs_photos(segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match="training photos"):
        profile(segmenter, [])


def test_the_training_photos_are_those_of_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Example(str(number), tmp_path, tmp_path, 0) for number in range(MOST_PHOTOS + 2)]
    monkeypatch.setattr("model.inputs.examples", lambda *_: listed)
    names = [{"name": pair.name} for pair in listed[1:]]
    (tmp_path / "data.json").write_text(f'{{"photos": {str(names).replace(chr(39), chr(34))}}}')
    found = training_photos(tmp_path, tmp_path)
    assert [pair.name for pair in found[:2]] == ["1", "3"]
    assert len(found) == MOST_PHOTOS // 2 + 1


def test_the_shipped_profile_fits_the_training_photos(training_pets: Path, segmenter: Segmenter) -> None:
    shipped = Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes())
    pairs = training_photos(SHIPPED_MODEL, training_pets)
    assert shipped.photos == len(pairs)
    found = Profile.from_json(profile(segmenter, pairs[::16]).encode())
    for name, bins in found.features.items():
        if bins.counts:
            middle, edges = bins.edges[len(bins.edges) // 2], shipped.features[name].edges
            assert edges[2] < middle < edges[6], name


def test_photos_of_other_pets_do_not_drift_and_dark_ones_do(pets: Path, segmenter: Segmenter) -> None:
    """Photos that the version was not trained on, at another size."""
    shipped = Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes())
    photos = [pair.open()[0] for pair in examples(pets, "test")[::5]]
    drifting = {}
    for title, factor in (("as they are", 1.0), ("dark", 0.6)):
        counted = {name: [0] * len(bins) for name, bins in shipped.features.items()}
        for photo in photos:
            for name, number in shipped.bins(
                of_pixels(segmenter.to_input(photo.point(lambda v, f=factor: v * f)))
            ).items():
                counted[name][number] += 1
        drifting[title] = {feature.name for feature in compare(shipped, counted) if feature.drifts}
    assert drifting["as they are"] == set()
    assert "brightness" in drifting["dark"]
