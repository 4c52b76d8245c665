"""The page in a real browser."""

import time
from pathlib import Path

import damage
import pictures
import services
from operating import segue_in
from playwright.sync_api import Page, expect
from stack import Stack

from web.admission import FRESH_S


def test_a_photo_chosen_with_the_button_gets_its_mask_over_it(page: Page, pets: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photos").click()
    chooser.value.set_files(pets / "fullsize_test_photos" / "boxer_98.jpg")
    card = page.locator(".job")
    expect(card.locator(".status")).to_contain_text("done in", timeout=30_000)
    expect(card.locator(".name")).to_have_text("boxer_98.jpg")
    mask, photo = card.locator("img.mask"), card.locator("img.photo")
    expect(mask).to_be_visible()
    assert mask.bounding_box() == photo.bounding_box()
    size = "element => [element.naturalWidth, element.naturalHeight]"
    assert mask.evaluate(size) == photo.evaluate(size) == [500, 347]
    assert card.locator(".classes li").count() == 3
    with page.expect_download() as download:
        card.get_by_text("Mask (PNG)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_no_empty_picture_is_shown_while_a_photo_waits(page: Page, stack: Stack) -> None:
    with damage.stopped(damage.pool_children(stack)):
        page.locator("input[type=file]").first.set_input_files(
            {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": pictures.jpeg()}
        )
        expect(page.locator(".job img.photo")).to_be_visible()
        expect(page.locator(".job img.mask")).to_be_hidden()
    expect(page.locator(".job img.mask")).to_be_visible(timeout=30_000)


def test_a_refused_photo_shows_the_operators_reason(page: Page, stack: Stack) -> None:
    env = {**stack.environment(), "PYTHONPATH": services.PYTHONPATH}
    segue_in(env, "pause", "--refuse", "--why", "We move to new disks until 14:00.")
    try:
        time.sleep(FRESH_S)
        page.locator("input[type=file]").first.set_input_files(
            {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": pictures.jpeg()}
        )
        expect(page.locator(".job .status")).to_contain_text("We move to new disks until 14:00.", timeout=10_000)
    finally:
        segue_in(env, "resume")


def test_photos_dropped_together_are_all_processed_and_a_bad_one_says_why(page: Page) -> None:
    contents = {
        "good.jpg": pictures.jpeg(200, 150),
        "<b>bad</b>.jpg": b"no image",
        "cut.jpg": pictures.truncated_jpeg(),
    }
    drop = """(files) => {
        const carried = new DataTransfer();
        for (const [name, bytes] of files) carried.items.add(new File([new Uint8Array(bytes)], name));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop, [[name, list(content)] for name, content in contents.items()])
    messages = {
        "good.jpg": "done in",
        "<b>bad</b>.jpg": "The content is in an unknown format.",
        "cut.jpg": "The image data is damaged or incomplete.",
    }
    for name, text in messages.items():
        card = page.locator(".job", has=page.get_by_text(name, exact=True))
        expect(card.locator(".status")).to_contain_text(text, timeout=30_000)
