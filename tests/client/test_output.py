"""`segue folder` writes only its own files, only inside OUT, and no terminal escapes."""

import os
from pathlib import Path

import pytest

from segue_client.documents import Job
from segue_client.folder.files import KeptError, Output
from segue_client.folder.journal import Journal
from segue_client.folder.naming import fitted, targets
from segue_client.folder.walk import Photo, walk
from segue_client.terminal import printable

JPEG = b"\xff\xd8\xff and more"


def test_only_files_in_the_journal_are_replaced(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.write("a/x.png", b"ours", None, overwrite=False)
    known = output.digest("a/x.png")
    output.write(
        "a/x.png", b"ours", None, overwrite=False
    )  # as written by a run that was killed before it noted the file
    output.write("a/x.png", b"newer", known, overwrite=False)
    assert (tmp_path / "a" / "x.png").read_bytes() == b"newer"
    with pytest.raises(KeptError):
        output.write("a/x.png", b"newest", known, overwrite=False)
    (tmp_path / "theirs.png").write_bytes(b"theirs")
    with pytest.raises(KeptError):
        output.write("theirs.png", b"ours", None, overwrite=False)
    output.write("theirs.png", b"ours", None, overwrite=True)
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*.png"))] == [b"newer", b"ours"]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_planted_link_is_not_followed(tmp_path: Path, overwrite: bool) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "victim.png").write_bytes(b"theirs")
    (out / "sub").symlink_to(outside)
    (out / "link.png").symlink_to(outside / "victim.png")
    output = Output(out)
    with pytest.raises(OSError, match="taken by a link or a file"):
        output.write("sub/victim.png", b"ours", None, overwrite=overwrite)
    with pytest.raises(OSError, match="taken by a link or a file"):
        output.write("sub/new/victim.png", b"ours", None, overwrite=overwrite)
    if overwrite:
        output.write("link.png", b"ours", None, overwrite=True)
        assert not (out / "link.png").is_symlink()
    else:
        with pytest.raises(KeptError):
            output.write("link.png", b"ours", None, overwrite=False)
    assert not output.exists("sub/victim.png")
    assert output.digest("sub/victim.png") is None
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"victim.png": b"theirs"}


def test_a_planted_temporary_file_is_not_followed(tmp_path: Path) -> None:
    output, victim = Output(tmp_path / "out"), tmp_path / "victim"
    (tmp_path / "out").mkdir()
    output.write("x.png", b"one", None, overwrite=False)
    import hashlib

    name = f".segue-{hashlib.sha256(b'x.png').hexdigest()[:16]}.part"
    (tmp_path / "out" / name).symlink_to(victim)
    output.write("x.png", b"two", None, overwrite=True)
    assert not victim.exists()


@pytest.mark.parametrize("planted", ["link", "fifo", "folder"])
def test_a_journal_that_is_not_a_file_is_refused(tmp_path: Path, planted: str) -> None:
    path, victim = tmp_path / "journal", tmp_path / "victim"
    {"link": lambda: path.symlink_to(victim), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[planted]()
    with pytest.raises(OSError):
        Journal(path)
    assert not victim.exists()


def photo(name: str) -> Photo:
    return Photo(name, Path(name), 1, 1)


def test_every_mask_has_a_unique_valid_name() -> None:
    long = ["b" * 248 + ".jpg", "b" * 248 + ".jpe", "ü" * 125 + ".jpg", "x/" + "c" * 255, "x/" + "c" * 254 + "d"]
    names = [*long, "a", "a.png/b", "a.png.png", "same.jpg", "same.png", "sub/same.jpg", ".segue-journal.jsonl"]
    for suffix in (".png", ".geojson", ".jsonl", ""):
        found = targets(map(photo, names), suffix)
        assert len(set(found.values())) == len(names)
        assert all(len(os.fsencode(part)) <= 255 for target in found.values() for part in target.split("/"))
        parents = {str(parent) for target in found.values() for parent in Path(target).parents}
        assert not parents & set(found.values())
    assert fitted("cat.jpg", ".png") == "cat.jpg.png"


def test_photos_are_recognized_by_their_content(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.jpe", "no suffix", "c.txt", "@eaDir/a.jpg/thumb.jpg", "__MACOSX/a.jpg", "._a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "text.jpg"):
        (tmp_path / name).write_text("no image")
    found = walk(tmp_path, tmp_path / "out")
    assert [photo.relative for photo in found.photos] == ["a.jfif", "b.jpe", "c.txt", "no suffix"]
    assert found.skipped == [("text.jpg", "not an image")]
    assert found.ignored == [("notes.txt", "not an image")]


@pytest.mark.parametrize(
    "name", ["percent%22.jpg", "a%0A.jpg", "a%0D.jpg", 'quote".jpg', "new\nline.jpg", " a.jpg", "\udce9"]
)
def test_a_name_that_a_form_may_change_travels_as_a_digest(name: str) -> None:
    assert photo(name).custom_id.startswith("path-")


def test_control_characters_are_escaped_for_a_terminal() -> None:
    assert printable("esc\x1b[2J\r\n\u202e\udce9\x9b") == "esc?[2J?????"
    assert printable("👨\u200d👩\u200d👧 é ü \ue000") == "👨\u200d👩\u200d👧 é ü \ue000"


def test_a_line_about_a_job_is_one_line() -> None:
    from segue_client.commands.entry import Entry

    job = Job("job_\x1b", "queued", {}, {"filename": "a\nb\x1b]0;x\x07"}, "")
    assert printable(Entry(job=job).line()) == "job_?  queued  a?b?]0;x?"


def test_every_format_has_a_suffix_and_is_documented() -> None:
    from services import ROOT

    from segue_client.formats import SUFFIXES

    documented = (ROOT / "docs" / "clients.md").read_text()
    assert all(f"`{name}`" in documented and f"`{suffix}`" in documented for name, suffix in SUFFIXES.items())
