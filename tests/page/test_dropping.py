"""Folders dropped on the page, and the messages of failures."""

import json
from pathlib import Path

import pictures
from playwright.sync_api import Locator, Page, Route, expect

from storage.problems import Problem


def drop(page: Page, *paths: Path) -> None:
    """Drop paths as from a file manager: the browser itself reads the folders."""
    protocol = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        protocol.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})


def status(page: Page, name: str) -> Locator:
    return page.locator(".job", has=page.get_by_role("heading", name=name, exact=True)).locator(".status")


def test_a_dropped_folder_is_walked(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "none").mkdir()
    for number, name in enumerate(("a.jpg", "deep/b.jpg", "deep/er/c.jpg")):
        (folder / name).write_bytes(pictures.jpeg(80, 60, seed=number))
    (folder / "notes.txt").write_text("no photo")
    for name in (".DS_Store", "Thumbs.db", "deep/desktop.ini"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "single.jpg").write_bytes(pictures.jpeg())
    drop(page, folder, tmp_path / "single.jpg")
    for name in ("pets/a.jpg", "pets/deep/b.jpg", "pets/deep/er/c.jpg", "single.jpg"):
        expect(status(page, name)).to_contain_text("done in", timeout=60_000)
    expect(status(page, "pets/notes.txt")).to_contain_text("unknown format", timeout=30_000)
    expect(status(page, "pets/none")).to_have_text("The folder has no files.")
    expect(page.locator(".job")).to_have_count(6)


def test_a_picture_that_cannot_be_fetched_says_why(page: Page, tmp_path: Path) -> None:
    def refuse(route: Route) -> None:
        problem = Problem("gone", "The photo was erased.").to_dict("/")
        route.fulfill(status=410, content_type="application/problem+json", body=json.dumps(problem))

    page.route("**/mask?format=overlay", refuse)
    (tmp_path / "single.jpg").write_bytes(pictures.jpeg())
    drop(page, tmp_path / "single.jpg")
    expect(status(page, "single.jpg")).to_have_text("The photo was erased.", timeout=60_000)
