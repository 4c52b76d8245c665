"""An archive can be unpacked everywhere, whatever the names of its items."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pictures
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from web.rendering.archive_names import ArchiveNames


def names(*custom_ids: str) -> list[str]:
    made = ArchiveNames()
    return [made.of(custom_id, "png") for custom_id in custom_ids]


@pytest.mark.parametrize(
    ("sent", "unpacked"),
    [
        (("a.jpg", "x/a.jpg", "x/b.jpg"), ["a.jpg.png", "x/a.jpg.png", "x/b.jpg.png"]),
        (("a", "a.png/b", "a.png/c"), ["a.png", "a.png~2/b.png", "a.png~2/c.png"]),
        (("a.png/b", "a"), ["a.png/b.png", "a~2.png"]),
        (("A.jpg", "a.jpg"), ["A.jpg.png", "a.jpg~2.png"]),
        (("X/a", "x/a"), ["X/a.png", "x~2/a.png"]),
        (("\u00e9", "e\u0301"), ["\u00e9.png", "e\u0301~2.png"]),
        (("con.jpg", "x/NUL", "console"), ["_con.jpg.png", "x/_NUL.png", "console.png"]),
        (('a:b?"c', "d./e ", "a_b__c"), ["a_b__c.png", "d_/e_.png", "a_b__c~2.png"]),
    ],
)
def test_names(sent: tuple[str, ...], unpacked: list[str]) -> None:
    assert names(*sent) == unpacked


parts = st.text(st.sampled_from("aAéÉe\u0301. :~2ßs"), min_size=1, max_size=4).filter(
    lambda text: text not in (".", "..")
)


@given(st.lists(st.lists(parts, min_size=1, max_size=3).map("/".join), max_size=12))
def test_no_two_names_collide(sent: list[str]) -> None:
    """For file systems that ignore case and Unicode normalization."""
    made = [normalize("NFC", name).casefold() for name in names(*sent)]
    assert len(set(made)) == len(sent)
    assert not {name for name in made if any(other.startswith(f"{name}/") for other in made)}
    assert all(len(part.encode()) <= 255 for name in made for part in name.split("/"))


def test_an_archive_can_be_unpacked(client: FlaskClient, work: Callable[[], None], tmp_path: Path) -> None:
    links = client.post("/v1/batches", json={}).get_json()["links"]
    sent = ["a", "a.png/b", "A", "x" * 255]
    images = [(io.BytesIO(pictures.jpeg(seed=number)), name) for number, name in enumerate(sent)]
    client.post(links["jobs"], data={"image": images})
    work()
    with zipfile.ZipFile(io.BytesIO(client.get(links["archive"]).data)) as archive:
        archive.extractall(tmp_path)
        manifest = json.loads(archive.read("manifest.json"))
    assert [item["custom_id"] for item in manifest["items"]] == sent
    assert len({item["mask"] for item in manifest["items"]}) == len(sent)
    for item in manifest["items"]:
        assert (tmp_path / item["mask"]).read_bytes().startswith(b"\x89PNG")
