"""GET /v1/jobs/{id}/mask in each format, and /image: the tests check the content."""

import base64
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pictures
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pycocotools import mask as coco
from services import ROOT, SHIPPED_MODEL
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from model.data import examples
from model.images import confidence, probability
from model.segmenter import Segmenter
from segue_client.documents import FORMATS
from storage.connection import Storage
from storage.objects import RESULTS, UPLOADS
from storage.problems import Problem
from web.openapi.document import describe
from web.rendering import renderings
from web.rendering.formats import FORMATS as REGISTRY
from web.rendering.formats import wanted

Work = Callable[[], None]
Document = dict[str, Any]
WIDTH, HEIGHT = 90, 60
PET, BACKGROUND, BORDER = 0, 1, 2
FIREFOX = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def pixels(content: bytes, mode: str | None = None) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert(mode) if mode else image, np.int64)


@pytest.fixture
def finished(client: FlaskClient, work: Work) -> Callable[..., Document]:
    """Return a function that processes a photo and returns the finished job's document."""

    def make(content: bytes) -> Document:
        job = client.post("/v1/jobs", data=content, content_type="image/jpeg").get_json()
        work()
        return dict(client.get(job["links"]["self"]).get_json())

    return make


@pytest.fixture
def job(finished: Callable[..., Document]) -> Document:
    return finished(pictures.jpeg(WIDTH, HEIGHT))


def paint(connection: Storage, job: Document, mask: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Replace the job's mask by spots of every class. Returns the class ids."""
    size = (job["result"]["height"], job["result"]["width"])
    mask = np.random.default_rng(7).integers(0, 3, size, np.uint8) if mask is None else mask
    image = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    image.putpalette([channel for entry in job["result"]["classes"] for channel in entry["color"]])
    record = connection.jobs.get(job["id"])
    assert record is not None
    connection.objects.put(RESULTS, record.result_key, pictures.encoded(image, "PNG"), "image/png")
    return mask


def code(answer: Any) -> str:
    assert answer.content_type == "application/problem+json"
    return str(answer.get_json()["code"])


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", "index"), ("*/*", "index"), ("image/png", "index"), ("image/*", "index"), (CHROME, "index"),
        (FIREFOX, "index"), ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "index"),
        ("image/jpeg", "overlay"), ("image/png;q=0.5, image/jpeg", "overlay"), ("image/png;q=0, image/*", "overlay"),
        ("application/geo+json", "geojson"), ("application/json;q=0.9, application/geo+json", "geojson"),
        ("application/json", "rle"), ("application/*", "geojson"), ("application/json, */*;q=0.1", "rle"),
    ],
)  # fmt: skip
def test_accept_chooses(accept: str, format_: str) -> None:
    assert wanted(None, parse_accept_header(accept, MIMEAccept)).name == format_


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "image/gif, application/pdf", "*/*;q=0"])
def test_accept_without_an_available_format(accept: str) -> None:
    with pytest.raises(Problem) as caught:
        wanted(None, parse_accept_header(accept, MIMEAccept))
    assert caught.value.code == "not_acceptable"


def test_the_format_parameter_takes_precedence_over_accept(client: FlaskClient, job: Document) -> None:
    path = f"{job['links']['self']}/mask"
    for accept, kind in ((None, "image/png"), ("image/jpeg", "image/jpeg"), ("application/json", "application/json")):
        answer = client.get(path, headers={"Accept": accept} if accept else {})
        assert (answer.status_code, answer.content_type) == (200, kind)
        assert "Accept" in answer.vary
    named = client.get(f"{path}?format=geojson", headers={"Accept": "image/jpeg"})
    assert named.content_type == "application/geo+json"
    refused = client.get(path, headers={"Accept": "text/html"})
    assert (refused.status_code, code(refused)) == (406, "not_acceptable")
    assert "image/png" in refused.get_json()["detail"]
    assert "Accept" in refused.vary
    assert client.get(f"{path}?format=index", headers={"Accept": "text/html"}).status_code == 200


def test_every_format_can_be_cached_and_revalidated(client: FlaskClient, job: Document) -> None:
    path, seen = f"{job['links']['self']}/mask", set()
    queries = [f"?format={name}" for name in REGISTRY]
    queries += ["?format=overlay&alpha=0.2", "?format=cutout&classes=border", "?format=cutout&classes=0,1"]
    for link in [*(path + query for query in queries), job["links"]["image"]]:
        answer = client.get(link)
        assert answer.status_code == 200, link
        digest = base64.b64encode(hashlib.sha256(answer.data).digest()).decode()
        assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
        assert answer.headers["Cache-Control"] == "private, immutable, max-age=86400"
        etag, weak = answer.get_etag()
        assert not weak
        assert etag not in seen, link
        seen.add(etag)
        again = client.get(link, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == answer.headers["ETag"]
        assert again.headers["Cache-Control"] == answer.headers["Cache-Control"]
        assert client.get(link).data == answer.data
    assert client.get(path).get_etag() == (job["result"]["sha256"], False)


def test_equivalent_cutouts_have_one_etag(client: FlaskClient, job: Document) -> None:
    path = f"{job['links']['self']}/mask?format=cutout"
    asked = ("", "&classes=pet,border", "&classes=border,%20pet", "&classes=2,0", "&classes=0,pet,2")
    assert len({client.get(path + more).headers["ETag"] for more in asked}) == 1


def test_the_links_lead_to_every_format(client: FlaskClient, job: Document) -> None:
    links = job["links"]
    assert set(FORMATS) == set(REGISTRY)
    assert set(links) == {"self", "image", "mask", *REGISTRY} - {"index"}
    for name in FORMATS:
        assert client.get(links["mask" if name == "index" else name]).content_type == REGISTRY[name].media_type
    assert client.get(links["image"]).content_type == "image/jpeg"


@pytest.mark.parametrize("format_", FORMATS)
def test_no_format_is_available_before_the_end_or_without_a_mask(client: FlaskClient, work: Work, format_: str) -> None:
    waiting = client.post("/v1/jobs", data=pictures.truncated_jpeg(), content_type="image/jpeg").get_json()
    path = f"{waiting['links']['self']}/mask?format={format_}"
    early = client.get(path)
    assert (early.status_code, code(early)) == (409, "job_not_finished")
    assert int(early.headers["Retry-After"]) >= 1
    work()
    late = client.get(path)
    assert (late.status_code, code(late)) == (409, "already_terminal")


def test_a_photo_or_mask_that_was_deleted(client: FlaskClient, connection: Storage, job: Document) -> None:
    record = connection.jobs.get(job["id"])
    assert record is not None
    for listed in connection.objects.listing(UPLOADS, ""):
        if job["id"] in listed.key:
            connection.objects.remove(UPLOADS, listed.key)
    for name in ("overlay", "cutout", "image"):
        assert code(client.get(job["links"][name])) == "gone"
    for name in ("mask", "confidence", "rle", "geojson"):
        assert client.get(job["links"][name]).status_code == 200
    connection.objects.remove(RESULTS, record.result_key)
    for name in ("mask", "confidence", "rle", "geojson"):
        assert code(client.get(job["links"][name])) == "gone"


@pytest.mark.parametrize("tag", range(1, 9))
def test_cutout_and_image_are_upright(
    client: FlaskClient, connection: Storage, finished: Callable[..., Document], tag: int
) -> None:
    upright = pictures.photo(WIDTH, HEIGHT)
    job = finished(pictures.with_orientation(upright, tag, kind="PNG"))
    mask = paint(connection, job)
    cut = pixels(client.get(job["links"]["cutout"]).data)
    assert cut.shape == (HEIGHT, WIDTH, 4)
    shown = mask != BACKGROUND
    np.testing.assert_array_equal(cut[..., 3], np.where(shown, 255, 0))
    np.testing.assert_array_equal(cut[shown][:, :3], np.asarray(upright)[shown])
    assert not cut[~shown].any()
    image = client.get(job["links"]["image"])
    with Image.open(io.BytesIO(image.data)) as opened:
        assert (opened.format, opened.size, dict(opened.getexif())) == ("JPEG", (WIDTH, HEIGHT), {})
    assert np.abs(pixels(image.data) - np.asarray(upright, int)).mean() < 4


@pytest.mark.parametrize(
    ("classes", "shown"),
    [("pet", [PET]), ("border,pet", [PET, BORDER]), ("1", [BACKGROUND]), ("0,background", [PET, BACKGROUND])],
)
def test_a_cutout_shows_the_requested_classes(
    client: FlaskClient, connection: Storage, job: Document, classes: str, shown: list[int]
) -> None:
    mask = paint(connection, job)
    cut = pixels(client.get(f"{job['links']['cutout']}&classes={classes}").data)
    np.testing.assert_array_equal(cut[..., 3] == 255, np.isin(mask, shown))


@pytest.mark.parametrize("classes", ["dog", "", "pet,,border", "3", "-1", "PET"])
def test_unknown_classes(client: FlaskClient, job: Document, classes: str) -> None:
    answer = client.get(f"{job['links']['cutout']}&classes={classes}")
    assert (answer.status_code, code(answer)) == (400, "invalid_request")
    assert "pet, background, border" in answer.get_json()["detail"]


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "I;16", "1"])
def test_photos_of_every_mode(
    client: FlaskClient, connection: Storage, finished: Callable[..., Document], mode: str
) -> None:
    """Half of the photo is transparent if the mode allows it, and shown over white."""
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[:, : WIDTH // 2] = True
    grey = np.where(left, 200, 80).astype(np.uint8)
    if mode == "I;16":
        photo = Image.fromarray(grey.astype(np.uint16) * 256)
    else:
        photo = Image.fromarray(grey).convert(mode.removesuffix("A") if mode == "LA" else mode)
    if mode in ("LA", "RGBA"):
        photo.putalpha(Image.fromarray(np.where(left, 255, 0).astype(np.uint8)))
    transparent = {"transparency": photo.getpixel((WIDTH - 1, 0))} if mode == "P" else {}
    job = finished(pictures.encoded(photo, "PNG", **transparent))
    mask = paint(connection, job)
    cut, image = (pixels(client.get(job["links"][name]).data, "RGBA") for name in ("cutout", "image"))
    right = 80 if mode == "I;16" else 255
    expected = np.where(left, 200, right)[..., None].repeat(3, 2)
    if mode != "1":  # mode 1 is dithered
        np.testing.assert_array_equal(cut[mask != BACKGROUND][:, :3], expected[mask != BACKGROUND])
        assert np.abs(image[..., :3] - expected).mean() < 4
    np.testing.assert_array_equal(cut[..., 3] == 255, mask != BACKGROUND)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", ["image", "cutout", "overlay"])
def test_responses_contain_only_pixels(
    client: FlaskClient, finished: Callable[..., Document], kind: str, name: str
) -> None:
    exif = Image.Exif()
    exif[270] = "secret place"
    more: Document = {"exif": exif, "icc_profile": b"secret profile" * 20, "xmp": b"<x>secret packet</x>"}
    if kind == "PNG":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        for key in ("comment", "Author", "XML:com.adobe.xmp"):
            more["pnginfo"].add_text(key, "secret text")
        del more["xmp"]
    if kind == "JPEG":
        more["comment"] = b"secret comment"
    sent = pictures.encoded(pictures.photo(WIDTH, HEIGHT), kind, **more)
    assert b"secret" in sent
    made = client.get(finished(sent)["links"][name]).data
    for word in (b"secret", b"Exif", b"ICC_PROFILE", b"iCCP", b"http://ns.adobe.com", b"tEXt", b"\xff\xfe"):
        if word != b"\xff\xfe" or name != "cutout":
            assert word not in made[:2000] + made[-2000:]
    with Image.open(io.BytesIO(made)) as image:
        assert not set(image.info) & {"exif", "icc_profile", "comment", "xmp", "Author"}


def test_the_image_of_a_job_without_a_mask(client: FlaskClient, work: Work) -> None:
    waiting = client.post("/v1/jobs", data=pictures.jpeg(), content_type="image/jpeg").get_json()
    assert client.get(waiting["links"]["image"]).status_code == 200
    damaged = client.post("/v1/jobs", data=pictures.truncated_jpeg(), content_type="image/jpeg").get_json()
    work()
    failed = client.get(damaged["links"]["self"]).get_json()
    answer = client.get(failed["links"]["image"])
    assert (answer.status_code, code(answer)) == (422, "image_decode_failed")


def test_confidence_is_the_networks(client: FlaskClient, finished: Callable[..., Document], pets: Path) -> None:
    photo = examples(pets, "test")[0].open()[0].resize((260, 130))
    answer = client.get(finished(pictures.encoded(photo, "PNG"))["links"]["confidence"])
    segmenter = Segmenter(SHIPPED_MODEL)
    small = confidence(segmenter.engine.logits(segmenter.to_input(photo)[None])[0])
    large = np.asarray(Image.fromarray(small * 255).resize((260, 130), Image.Resampling.BILINEAR))
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (260, 130))
    found = pixels(answer.data)
    assert found.max() - found.min() > 20, "vacuous"
    assert np.abs(found - large).max() <= 3


def test_soft_is_as_opaque_as_background_is_unlikely(
    client: FlaskClient, finished: Callable[..., Document], pets: Path
) -> None:
    photo = examples(pets, "test")[0].open()[0].resize((260, 130))
    job = finished(pictures.encoded(photo, "PNG"))
    answer = client.get(f"{job['links']['mask']}?format=soft")
    segmenter = Segmenter(SHIPPED_MODEL)
    background = probability(segmenter.engine.logits(segmenter.to_input(photo)[None])[0], 1)
    large = np.asarray(Image.fromarray(255 - background * 255).resize((260, 130), Image.Resampling.BILINEAR))
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", photo.size)
        found = np.asarray(image)
    np.testing.assert_array_equal(found[..., :3], np.asarray(photo))
    assert np.abs(found[..., 3] - large).max() <= 3
    assert len(np.unique(found[..., 3])) > 20, "vacuous"


def test_inner_and_outer_enclose_the_class(client: FlaskClient, finished: Callable[..., Document]) -> None:
    """They are those that the thresholds were fitted for."""
    job = finished(pictures.encoded(pictures.photo(260, 130), "PNG"))
    mask, sure = (pixels(client.get(job["links"][name]).data) for name in ("ids", "confidence"))
    for number, name in ((0, "pet"), (2, "border")):
        thresholds = job["result"]["classes"][number]["regions"]
        answers = [client.get(f"{job['links']['mask']}?format={side}&classes={name}") for side in ("inner", "outer")]
        inner, outer = (pixels(answer.data) for answer in answers)
        np.testing.assert_array_equal(inner == 255, (mask == number) & (sure >= thresholds["inner"] * 255))
        np.testing.assert_array_equal(outer == 255, (mask == number) | (sure < thresholds["outer"] * 255))
        assert set(np.unique([inner, outer])) <= {0, 255}
    default = client.get(f"{job['links']['mask']}?format=outer")
    assert default.data == client.get(f"{job['links']['mask']}?format=outer&classes=pet").data


def test_a_class_without_thresholds(client: FlaskClient, job: Document) -> None:
    answer = client.get(f"{job['links']['mask']}?format=inner&classes=background")
    assert (answer.status_code, code(answer)) == (404, "no_guarantee")


def test_an_older_mask_has_no_confidence(client: FlaskClient, connection: Storage, job: Document) -> None:
    paint(connection, job)
    answer = client.get(job["links"]["confidence"])
    assert (answer.status_code, code(answer)) == (404, "no_confidence")


def test_ids_are_grey_values(client: FlaskClient, connection: Storage, job: Document) -> None:
    mask = paint(connection, job)
    with Image.open(io.BytesIO(client.get(job["links"]["ids"]).data)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), mask)


def test_downloads_are_named_after_the_photo(client: FlaskClient, work: Work) -> None:
    photo = (io.BytesIO(pictures.jpeg()), "K\u00e4tzchen 1.jpg")
    made = client.post("/v1/jobs", data={"image": photo}).get_json()
    work()
    links = client.get(made["links"]["self"]).get_json()["links"]
    suffixes = {
        "mask": "png",
        "overlay": "overlay.jpg",
        "geojson": "geojson",
        "rle": "rle.json",
        "image": "upright.jpg",
    }
    for link, suffix in suffixes.items():
        header = client.get(links[link]).headers["Content-Disposition"]
        assert header.startswith(f'inline; filename="K_tzchen 1.jpg.{suffix}"')
        assert parse_options_header(header)[1]["filename"] == f"K\u00e4tzchen 1.jpg.{suffix}"


@pytest.mark.parametrize("name", REGISTRY)
def test_every_format_is_in_the_document_and_in_the_description(app: Flask, name: str) -> None:
    one, document = REGISTRY[name], (ROOT / "docs" / "api.md").read_text()
    accept = f"`{one.media_type}`" if one.by_accept else "|"
    assert re.search(rf"^\| `{name}` \| {re.escape(accept)}", document, re.MULTILINE), name
    operation = describe(app)["paths"]["/v1/jobs/{job_id}/mask"]["get"]
    assert name in operation["parameters"][1]["schema"]["enum"]
    assert one.media_type in operation["responses"]["200"]["content"]


def test_each_media_type_selects_one_format() -> None:
    offered = [one.media_type for one in REGISTRY.values() if one.by_accept]
    assert len(set(offered)) == len(offered)
    assert set(offered) == {one.media_type for one in REGISTRY.values()}


def test_run_lengths_and_polygons_represent_the_mask_exactly(
    client: FlaskClient, connection: Storage, job: Document
) -> None:
    mask = paint(connection, job)
    run_lengths = json.loads(client.get(job["links"]["rle"]).data)
    assert run_lengths["size"] == [HEIGHT, WIDTH]
    features = json.loads(client.get(job["links"]["geojson"]).data)["features"]
    expected_classes = [
        {name: entry[name] for name in ("id", "name", "color", "pixels")} for entry in job["result"]["classes"]
    ]
    assert [feature["properties"] for feature in features] == expected_classes
    for entry, feature in zip(run_lengths["classes"], features, strict=True):
        area = coco.area({"size": [HEIGHT, WIDTH], "counts": entry["counts"]})
        assert area == (mask == entry["id"]).sum()
        rings = [np.array(ring) for polygon in feature["geometry"]["coordinates"] for ring in polygon]
        doubled = sum((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() for x, y in (ring.T for ring in rings))
        assert doubled == 2 * area


def test_a_mask_too_detailed_for_polygons(
    client: FlaskClient, connection: Storage, job: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    from web.rendering import vectors

    paint(connection, job)
    monkeypatch.setattr(vectors, "MOST_CORNERS", 100)
    answer = client.get(job["links"]["geojson"])
    assert (answer.status_code, code(answer)) == (422, "mask_too_detailed")
    assert client.get(job["links"]["rle"]).status_code == 200


def test_a_caller_renders_one_mask_at_a_time(app: Flask, job: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    """In greenlets of one thread, as in the server."""
    running, most, lock = 0, 0, threading.Lock()

    def slow(*_: Any) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.2)  # time in which another would begin
        with lock:
            running -= 1
        return b"{}"

    monkeypatch.setattr(renderings, "rle", slow)
    asked = [gevent.spawn(lambda: app.test_client().get(job["links"]["rle"]).status_code) for _ in range(6)]
    gevent.joinall(asked, timeout=60)
    assert ([one.value for one in asked], most) == ([200] * 6, 1)
