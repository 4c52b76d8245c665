"""Corrected masks as editors save them: a pixel's colour determines its class."""

import io
import json
from typing import Any

import numpy as np
import pictures
import pytest
from numpy.typing import NDArray
from PIL import Image

from storage.photos import class_ids as module
from storage.photos.class_ids import class_ids
from storage.photos.photo import decode_mask
from storage.problems import Problem
from storage.settings import Settings

COLOURS = [(255, 122, 89), (38, 50, 72), (255, 214, 102)]
CLASSES = [{"id": number, "name": f"class {number}", "color": list(colour)} for number, colour in enumerate(COLOURS)]
IDS = np.random.default_rng(3).integers(0, 3, (40, 60), np.uint8)


def picture() -> Image.Image:
    return Image.fromarray(np.array(COLOURS, np.uint8)[IDS])


def with_palette(palette: list[tuple[int, ...]], indices: NDArray[np.uint8]) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette([channel for colour in palette for channel in colour])
    return image


def read(image: Image.Image, classes: Any = CLASSES, **how: Any) -> NDArray[np.uint8]:
    found = class_ids(decode_mask(pictures.encoded(image, "PNG", **how), Settings()), classes)
    assert found.mode == "L"
    return np.asarray(found)


def refusal(image: Image.Image, classes: Any = CLASSES, **how: Any) -> str:
    with pytest.raises(Problem) as caught:
        read(image, classes, **how)
    assert caught.value.code == "unprocessable_image"
    return caught.value.detail


def test_the_palette_in_another_order() -> None:
    np.testing.assert_array_equal(read(with_palette(COLOURS[::-1], 2 - IDS)), IDS)


def test_a_mask_that_an_editor_converted_to_indexed_colours() -> None:
    quantized = picture().quantize(8)
    assert (np.asarray(quantized) != IDS).any(), "vacuous"
    np.testing.assert_array_equal(read(quantized), IDS)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_palettes_of_few_bits(bits: int) -> None:
    np.testing.assert_array_equal(read(with_palette(COLOURS[::-1], 2 - IDS), bits=bits), IDS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_true_colours(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(read(picture().convert(mode)), IDS)
    monkeypatch.setattr(module, "BAND", 7)
    np.testing.assert_array_equal(read(picture().convert(mode)), IDS)


def test_grey_values_are_class_ids() -> None:
    np.testing.assert_array_equal(read(Image.fromarray(IDS)), IDS)


def test_an_unknown_colour_is_named() -> None:
    palette = [*COLOURS, (255, 0, 0), (1, 2, 3)]
    strange = IDS.copy()
    strange[3, 4], strange[5, 6] = 3, 4
    assert "#ff0000, #010203." in refusal(with_palette(palette, strange))
    assert "no class has: #010203, #ff0000." in refusal(with_palette(palette, strange).convert("RGB"))
    assert read(with_palette(palette, IDS)).shape == IDS.shape, "unused colours of the palette are ignored"


def test_many_colours_are_counted() -> None:
    assert "and 2395 more" in refusal(Image.frombytes("RGBA", (60, 40), np.arange(2400, dtype=np.uint32).tobytes()))


def test_transparent_pixels_are_refused() -> None:
    assert "#ff7a5900" in refusal(with_palette(COLOURS, IDS), transparency=0)
    clear = picture().convert("RGBA")
    clear.putpixel((0, 0), (255, 122, 89, 128))
    assert "#ff7a5980" in refusal(clear)


def test_an_index_beyond_the_palette() -> None:
    with pytest.raises(Problem) as caught:
        class_ids(with_palette(COLOURS, np.full((4, 4), 3)), CLASSES)
    assert "#00000000" in caught.value.detail


def test_unknown_grey_values_are_named() -> None:
    assert "not class ids: 3, 255." in refusal(Image.fromarray(np.array([[0, 3], [255, 1]], np.uint8)))


BLACK_AND_WHITE = [{"id": 0, "color": [255, 255, 255]}, {"id": 1, "color": [0, 0, 0]}]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_colours_of_classes(mode: str) -> None:
    image = Image.fromarray(np.where(IDS == 1, 0, 255).astype(np.uint8)).convert(mode)
    np.testing.assert_array_equal(read(image, BLACK_AND_WHITE), IDS == 1)


def test_ambiguous_grey_values_are_refused() -> None:
    assert "both" in refusal(Image.new("L", (4, 4), 0), BLACK_AND_WHITE)


def test_the_index_decides_between_two_classes_of_one_colour() -> None:
    same = [{"id": 0, "color": [9, 9, 9]}, {"id": 1, "color": [9, 9, 9]}, {"id": 2, "color": [7, 7, 7]}]
    palette = [(9, 9, 9), (9, 9, 9), (7, 7, 7)]
    np.testing.assert_array_equal(read(with_palette(palette, IDS), same), IDS)


def test_over_the_api(client: Any, work: Any, connection: Any) -> None:
    """A mask that is saved with its palette in another order is stored as the same classes."""
    from storage.objects import FEEDBACK

    made = client.post("/v1/jobs", data=pictures.jpeg(60, 40), content_type="image/jpeg").get_json()
    work()
    job = client.get(made["links"]["self"]).get_json()
    with Image.open(io.BytesIO(client.get(job["links"]["mask"]).data)) as opened:
        ids, sorted_anew = np.asarray(opened), opened.convert("RGB").quantize(8)
    form = {"verdict": "corrected", "mask": (io.BytesIO(pictures.encoded(sorted_anew, "PNG")), "m.png")}
    answer = client.post(f"{job['links']['self']}/feedback", data=form)
    assert answer.status_code == 201, json.dumps(answer.get_json())
    [key] = [one.key for one in connection.objects.listing(FEEDBACK, f"local/{job['id']}/") if one.key.endswith("png")]
    with Image.open(io.BytesIO(connection.objects.get(FEEDBACK, key))) as kept:
        np.testing.assert_array_equal(np.asarray(kept), ids)
