"""The page on a server that requires keys: signing in with a key, and a public page."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pictures
import pytest
from playwright.sync_api import FilePayload, Page, expect
from stack import Stack

from storage.records.api_key import Scope, key_id
from storage.records.api_keys import ApiKeys
from storage.records.sql import Database

Opened = Callable[[int], AbstractContextManager[Page]]
Web = Callable[..., int]
PHOTO = FilePayload(name="cat.jpg", mimeType="image/jpeg", buffer=pictures.jpeg(120, 90))


@pytest.fixture
def keys(stack: Stack) -> ApiKeys:
    return ApiKeys(Database(stack.environment()["SQL_URL"]))


def segmented(page: Page) -> None:
    """Upload a photo and wait for its mask, which the browser fetches by itself."""
    page.locator("#file").set_input_files([PHOTO])
    card = page.locator(".job").first
    expect(card.locator(".status")).to_contain_text("done in", timeout=30_000)
    expect(card.locator("img.mask")).to_be_visible()


def test_signing_in_with_a_key_and_out(opened: Opened, guarded: Web, keys: ApiKeys) -> None:
    key = keys.create("acme", frozenset({Scope.SUBMIT, Scope.READ}))[1]
    with opened(guarded(REQUIRE_KEYS="1")) as page:
        expect(page.locator("#drop")).to_have_count(0)
        for wrong in (key[:-1], f"“{key}”"):
            page.get_by_label("API key").fill(wrong)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_have_text("This is not an API key.")
        page.get_by_label("API key").fill(f" {key} ")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#drop")).to_be_visible()
        segmented(page)
        page.reload()
        segmented(page)
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#sign-in")).to_be_visible()
        assert page.context.cookies() == []


def test_a_key_that_is_revoked_ends_the_session(opened: Opened, guarded: Web, keys: ApiKeys) -> None:
    key = keys.create("acme", frozenset({Scope.SUBMIT, Scope.READ}))[1]
    with opened(guarded(REQUIRE_KEYS="1", KEY_CACHE_S="0")) as page:
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#drop")).to_be_visible()
        keys.revoke(key_id(key) or "")
        page.locator("#file").set_input_files([PHOTO])
        expect(page.locator(".job .status")).to_have_text("The session has ended.")
        page.reload()
        expect(page.locator("#sign-in")).to_be_visible()


def test_another_browsers_session_is_ended_on_the_page(opened: Opened, guarded: Web, keys: ApiKeys) -> None:
    key = keys.create("acme", frozenset({Scope.SUBMIT, Scope.READ}))[1]
    port = guarded(REQUIRE_KEYS="1", KEY_CACHE_S="0")
    with opened(port) as first, opened(port) as second:
        for page in (first, second):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator("#drop")).to_be_visible()
        first.locator("#sessions summary").click()
        expect(first.locator("#sessions li")).to_have_count(2)
        first.locator("#sessions li", has_not_text="This browser").get_by_role("button", name="End").click()
        expect(first.locator("#sessions li")).to_have_count(1)
        second.reload()
        expect(second.locator("#sign-in")).to_be_visible()
        first.locator("#sessions li").get_by_role("button", name="End").click()
        expect(first.locator("#sign-in")).to_be_visible()


def test_a_public_page_works_without_signing_in(opened: Opened, guarded: Web) -> None:
    port = guarded(PUBLIC_PAGE="1")
    with opened(port) as page:
        assert page.context.cookies() == []
        page.locator("#file").set_input_files([PHOTO, FilePayload(**{**PHOTO, "name": "dog.jpg"})])
        for card in page.locator(".job").all():
            expect(card.locator(".status")).to_contain_text("done in", timeout=30_000)
        assert {cookie["name"] for cookie in page.context.cookies()} == {"segue_session", "segue_csrf"}
        mask = page.locator(".download").first.get_attribute("href")
        page.reload()
        segmented(page)
        assert page.request.get(mask or "").status == 200
    with opened(port) as page:
        assert page.request.get(mask or "").status == 401
        segmented(page)
        assert page.request.get(mask or "").status == 404


def test_a_lost_session_is_started_again(opened: Opened, guarded: Web) -> None:
    with opened(guarded(PUBLIC_PAGE="1")) as page:
        segmented(page)
        page.context.clear_cookies()
        segmented(page)


def test_an_open_page_ignores_an_old_session(page: Page) -> None:
    page.context.add_cookies([{"name": "segue_session", "value": "old", "url": page.url}])
    page.reload()
    segmented(page)
    assert page.context.cookies() == []
