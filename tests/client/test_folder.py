"""`segue folder` against the running stack.

Each run is a separate process that cannot import the server's libraries.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pictures
import pytest
import services
from callers import SECRET
from folders import Folder, env
from PIL import Image
from stack import Stack, children

from segue_client.client import Client
from segue_client.folder.journal import NAME
from storage.records.api_key import Scope
from storage.records.api_keys import ApiKeys
from storage.records.sql import Database


@pytest.fixture
def folder(tmp_path: Path, stack: Stack) -> Folder:
    return Folder(tmp_path, stack.port)


def test_a_tree_and_everything_hostile_in_it(folder: Folder, tmp_path: Path) -> None:
    photos = {"a.jpg": (40, 30), "a.png": (31, 47), "deep/er/B.JPEG": (50, 20), 'odd "é" name.jpg': (33, 44)}
    photos[f"{'long' * 30}/{'name' * 40}.jpg"] = (20, 21)
    for name, size in photos.items():
        folder.photo(name, *size)
    source = folder.source
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    (source / "notes.txt").write_text("ignored")
    (source / "text.jpg").write_text("not an image")
    (source / "empty.png").touch()
    (source / "large.webp").write_bytes(b"RIFF0000WEBP" + bytes(10 * 1024**2))
    (source / "secret.jpg").write_bytes(pictures.jpeg())
    (source / "secret.jpg").chmod(0)
    os.mkfifo(source / "pipe.jpg")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.jpg").write_bytes(pictures.jpeg())
    (source / "link.jpg").symlink_to(tmp_path / "outside" / "o.jpg")
    (source / "folder-link").symlink_to(tmp_path / "outside")
    (source / "loop").symlink_to(source)
    (source / "nowhere.jpg").symlink_to("missing.jpg")
    (source / "broken.jpg").write_bytes(pictures.truncated_jpeg())
    (source / "header.jpg").write_bytes(b"\xff\xd8\xff and nothing more")

    report = folder.run(code=1)
    assert folder.masks() == {f"{name}.png" for name in photos}
    for name, size in photos.items():
        with Image.open(folder.out / f"{name}.png") as mask:
            assert (mask.mode, mask.size) == ("P", size)
    assert {one["file"]: one["reason"].split(":")[0] for one in report["skipped"]} == {
        "text.jpg": "not an image", "empty.png": "empty", "large.webp": "larger than 10 MiB",
        "secret.jpg": "Permission denied", "pipe.jpg": "not a regular file", "nowhere.jpg": "No such file or directory",
        "link.jpg": "a link that points outside the folder", "folder-link": "a link that points outside the folder",
    }  # fmt: skip
    assert {one["file"]: one["code"] for one in report["failed"]} == {
        "broken.jpg": "image_decode_failed", "header.jpg": "unprocessable_image",
    }  # fmt: skip
    assert (report["photos"], report["succeeded"]) == (15, 5)
    assert report["ignored"] == [{"file": "notes.txt", "reason": "not an image"}]
    assert sum(report["classes"].values()) == pytest.approx(1, abs=0.01)
    assert all(path.read_bytes() == content for path, content in before.items())

    again = folder.run("--retry-failed", code=1)
    assert {one["file"]: one["code"] for one in again["failed"]} == {
        "broken.jpg": "image_decode_failed", "header.jpg": "unprocessable_image",
    }  # fmt: skip
    assert [line for line in folder.journal() if "retried" in line] == [{"retried": "broken.jpg"}]


def test_every_job_has_the_tags(folder: Folder) -> None:
    folder.photo("a.jpg")
    report = folder.run("--tag", "holiday", "--tag", "2026")
    with Client(f"http://127.0.0.1:{folder.port}") as client:
        [item] = client.batch(report["batches"][0]).results()
        assert client.job(item.job_id).document["tags"] == ["holiday", "2026"]


def test_the_summary_for_people(folder: Folder) -> None:
    folder.photo("a.jpg")
    (folder.source / "esc\x1b[2Jape.jpg").write_text("x")
    done = folder.outcome()
    assert done.returncode == 1
    assert "2 photos: 1 masks, 1 skipped, 0 kept, 0 failed, 0 unfinished" in done.stdout
    assert "of the pixels, mean over 1 masks" in done.stdout
    assert "skipped    esc?[2Jape.jpg: not an image" in done.stdout


@pytest.mark.parametrize(("kind", "count"), [("batch", 1), ("uploaded", 40), ("done", 60)])
def test_killed_and_run_again(folder: Folder, kind: str, count: int) -> None:
    names = [f"{i % 7}/{i}.jpg" for i in range(150)]
    for i, name in enumerate(names):
        folder.photo(name, 200, 150, seed=i)
    folder.kill_at(kind, count)
    sent = sum("uploaded" in line for line in folder.journal())
    with (folder.out / NAME).open("ab") as journal:
        journal.write(b'{"done": "0/0.j')
    report = folder.run()
    assert (report["succeeded"], report["downloaded"] > 0) == (150, True)  # the first run was killed before its end
    assert report["uploaded"] <= 150 - sent
    with Client(f"http://127.0.0.1:{folder.port}") as client:
        assert client.batch(report["batches"][0]).counts.total == 150
    assert folder.masks() == {f"{name}.png" for name in names}
    lines = folder.journal()
    for once in ("uploaded", "done"):
        assert Counter(line[once] for line in lines if once in line) == dict.fromkeys(names, 1)
    assert len([line for line in lines if "batch" in line]) == 1

    again = folder.run("--url", "http://127.0.0.1:1")  # makes no request
    assert (again["uploaded"], again["downloaded"], again["succeeded"]) == (0, 0, 150)
    assert folder.journal() == lines
    assert again["classes"] == pytest.approx(report["classes"])


def test_changed_photos_are_sent_again_and_lost_masks_fetched_again(folder: Folder) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        folder.photo(name)
    folder.run()
    folder.photo("b.jpg", 60, 20, seed=5)
    folder.photo("d.jpg")
    (folder.out / "c.jpg.png").unlink()
    report = folder.run()
    assert (report["uploaded"], report["downloaded"], report["succeeded"], len(report["batches"])) == (2, 3, 4, 2)
    with Image.open(folder.out / "b.jpg.png") as mask:
        assert mask.size == (60, 20)


def test_a_photo_that_changed_while_its_batch_was_open(folder: Folder) -> None:
    """The run was killed after the server accepted the photo and before the journal noted it.

    The open batch still holds the earlier content.
    """
    folder.photo("late.jpg", 20, 20)
    folder.out.mkdir()
    with Client(f"http://127.0.0.1:{folder.port}") as client:
        batch = client.open_batch("open")
        batch.append([("late.jpg", (folder.source / "late.jpg").read_bytes())])
        (folder.out / NAME).write_text(json.dumps({"batch": batch.id, "url": "…"}) + "\n")
        folder.photo("late.jpg", 50, 20)
        report = folder.run()
        assert client.batch(batch.id).status == "succeeded"
    assert len(report["batches"]) == 2
    with Image.open(folder.out / "late.jpg.png") as mask:
        assert mask.size == (50, 20)


def test_a_batch_that_the_server_has_forgotten_is_sent_again(folder: Folder) -> None:
    folder.photo("a.jpg")
    folder.out.mkdir()
    lines = [
        {"batch": "bat_01a203b4d5037207a59836e62a304243", "url": "…"},
        {"uploaded": "a.jpg", "job_id": "1", "size": (folder.source / "a.jpg").stat().st_size,
         "mtime_ns": (folder.source / "a.jpg").stat().st_mtime_ns},
    ]  # fmt: skip
    (folder.out / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = folder.run()
    assert (report["uploaded"], report["succeeded"]) == (1, 1)


def test_cancelled_jobs_run_again_only_on_request(folder: Folder, stack: Stack) -> None:
    names = [f"{i}.jpg" for i in range(5)]
    for name in names:
        folder.photo(name)
    workers = [child for worker in stack.pids("-Q segment") for child in [*children(worker), worker]]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        folder.kill_at("uploaded", 5)
        batch_id = folder.journal()[0]["batch"]
        with Client(f"http://127.0.0.1:{folder.port}") as client:
            batch = client.batch(batch_id)
            batch.cancel()
            batch.wait(30)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert Counter(one["code"] for one in folder.run(code=1)["failed"]) == {"canceled": 5}
    assert len(folder.run(code=1)["failed"]) == 5  # cancelled jobs do not run again by default
    report = folder.run("--retry-failed")
    assert (report["uploaded"], report["downloaded"], report["batches"]) == (0, 5, [batch_id])
    assert folder.masks() == {f"{name}.png" for name in names}


def test_overlays_into_a_subfolder_of_the_photos(folder: Folder) -> None:
    folder.out = folder.source / "masks"
    folder.photo("a.png", 45, 35)
    for _ in range(2):
        folder.run("--format", "overlay")
    assert folder.masks() == {"a.png.jpg"}
    with Image.open(folder.out / "a.png.jpg") as overlay:
        assert (overlay.format, overlay.size) == ("JPEG", (45, 35))


def test_a_folder_without_photos_says_so(folder: Folder) -> None:
    (folder.source / "notes.txt").write_text("not a photo")
    report = folder.run(code=1)
    assert (report["ok"], report["photos"], report["batches"]) == (False, 0, [])
    assert (report["error"]["code"], report["ignored"][0]["file"]) == ("nothing_sent", "notes.txt")


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "svg"],
        ["--concurrency", "0"],
        ["--url", "nowhere"],
        ["--out", "{in}"],
        ["--out", "{in}/.."],
        ["--x"],
    ],
)
def test_usage_errors(folder: Folder, options: list[str]) -> None:
    done = folder.outcome(*(option.replace("{in}", str(folder.source)) for option in options))
    assert (done.returncode, "Usage" in done.stderr) == (2, True)
    assert not folder.out.exists()


def test_the_segue_command_is_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "segue_client", "folder", "--help"],
        env=env(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--retry-failed" in done.stdout


def test_a_server_that_requires_a_key(
    folder: Folder, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.photo("a.jpg")
    key = ApiKeys(Database(stack.environment()["SQL_URL"])).create("acme", frozenset({Scope.SUBMIT, Scope.READ}))[1]
    folder.port, log = services.free_ports(1), tmp_path / "web.log"
    web = stack.run_line("web", log, PORT=str(folder.port), REQUIRE_KEYS="1", SESSION_SECRET=SECRET)
    try:
        services.wait_until(lambda: "Booting worker" in log.read_text(), "the web")
        refused = folder.run(code=1)
        assert refused["error"]["code"] == "unauthorized"
        assert folder.run("--key", key)["succeeded"] == 1
        folder.photo("b.jpg", seed=1)
        monkeypatch.setenv("SEGUE_KEY", key)
        assert folder.run()["succeeded"] == 2
    finally:
        web.terminate()
        assert web.wait(services.PATIENCE_S) == 0


def test_a_foreign_file_is_not_overwritten(folder: Folder) -> None:
    for name in ("a.jpg", "b.jpg"):
        folder.photo(name)
    folder.out.mkdir()
    theirs, ours = folder.out / "a.jpg.png", folder.out / "b.jpg.png"
    theirs.write_bytes(b"theirs")
    report = folder.run(code=1)
    assert ([one["file"] for one in report["kept"]], report["uploaded"], report["succeeded"]) == (["a.jpg"], 1, 1)
    ours.write_bytes(b"corrected by hand")
    folder.photo("b.jpg", 50, 20, seed=5)
    report = folder.run(code=1)
    assert ([one["file"] for one in report["kept"]], report["uploaded"]) == (["a.jpg", "b.jpg"], 0)
    assert (theirs.read_bytes(), ours.read_bytes()) == (b"theirs", b"corrected by hand")
    assert folder.run("--overwrite")["succeeded"] == 2
    with Image.open(ours) as mask:
        assert mask.size == (50, 20)
