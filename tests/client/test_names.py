"""Every name that a file system allows survives the upload and the download."""

import unicodedata
from pathlib import Path

import pictures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stack import Stack

from segue_client.folder.journal import NAME
from segue_client.folder.order import Order
from segue_client.folder.run import run

PHOTO = pictures.jpeg(16, 12)
KNOWN = [
    b"plain.jpg", b"percent%22.jpg", b"percent%0A.jpg", b"percent%0D.jpg", b"%", b'quote".jpg', b"apostrophe'.jpg",
    b"new\nline.jpg", b"carriage\rreturn.jpg", b"tab\t.jpg", b"back\\slash.jpg", b" leading.jpg", b"trailing ",
    b"--help.jpg", b"latin1_\xe9.jpg", b"...", b"con.jpg", b"semi;colon.jpg", b"\x1b[2J.jpg",
    "emoji_👨\u200d👩\u200d👧.jpg".encode(), "new_\U0001fae8.jpg".encode(), "private_\uf8ff.jpg".encode(),
    "soft\u00adhyphen.jpg".encode(), "bidi_\u202e.jpg".encode(), "nbsp\u00a0.jpg".encode(),
    unicodedata.normalize("NFC", "é.jpg").encode(), unicodedata.normalize("NFD", "é.jpg").encode(),
    b"a" * 251 + b".jpg", b"b" * 248 + b".jpg", b"b" * 247 + b"c.jpg", "ü".encode() * 125 + b".jpg", b"same.jpg",
    b"same.png", b"same.jpg.png",
]  # fmt: skip


def check_round_trip(stack: Stack, root: Path, names: "list[bytes]") -> None:
    source, out = root / "in", root / "out"
    source.mkdir()
    for name in names:
        with open(bytes(source) + b"/" + name, "wb") as file:
            file.write(PHOTO)
    order = Order(source, out, f"http://127.0.0.1:{stack.port}", name="names")
    report = run(order)
    assert report.ok, report.document()
    masks = {path.name for path in out.iterdir()} - {NAME}
    assert len(masks) == report.succeeded == len(names)
    again = run(order)
    assert (again.ok, again.uploaded, again.downloaded) == (True, 0, 0)


def test_known_names(stack: Stack, tmp_path: Path) -> None:
    check_round_trip(stack, tmp_path, KNOWN)


NAMES = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode(errors="replace")),
    st.text("%2ADd\"'\\\n\r é\u0301\u200d\U0001f431", min_size=1, max_size=40).map(str.encode),
).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..") and not name.startswith(b"._")
    and name.lower() not in (b"thumbs.db", b".ds_store", b"desktop.ini", b"ehthumbs.db") and len(name) <= 255
)  # fmt: skip


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.lists(NAMES, min_size=10, max_size=25, unique=True))
def test_random_names(stack: Stack, tmp_path_factory: pytest.TempPathFactory, names: "list[bytes]") -> None:
    check_round_trip(stack, tmp_path_factory.mktemp("names"), names)
