"""The page, its documents and its links below a path, behind a real reverse proxy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pictures
import pytest
import services
from playwright.sync_api import expect

# nginx strips the prefix and names it in a header, or passes it on.
CUTS_OFF = """location /segue/ {{
    proxy_pass http://127.0.0.1:{port}/; proxy_http_version 1.1; proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Prefix /segue; }}"""
PASSES_ON = """location /segue/ {{
    proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }}"""
WAYS = {"a header": (CUTS_OFF, {}), "a setting": (PASSES_ON, {"ROOT_PATH": "/segue"})}


@pytest.fixture(params=WAYS)
def proxy(request: pytest.FixtureRequest, nginx: None, guarded: Callable[..., int], tmp_path: Path) -> Iterator[int]:
    """Yield the port of the proxy."""
    location, changes = WAYS[request.param]
    started = services.start_nginx(tmp_path, location.format(port=guarded(TRUSTED_PROXY="127.0.0.1", **changes)))
    yield started.port
    started.stop()


def test_a_photo_gets_its_mask(opened: Callable[..., Any], proxy: int, tmp_path: Path) -> None:
    photo = tmp_path / "cat.jpg"
    photo.write_bytes(pictures.jpeg(200, 150))
    with opened(proxy, "/segue/") as page:
        page.locator("#file").set_input_files(photo)
        card = page.locator(".job")
        expect(card.locator(".status")).to_contain_text("done in", timeout=60_000)
        expect(card.locator("img.mask")).to_be_visible()
        with page.expect_download() as download:
            card.locator("a.download").click()
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
        page.goto("/segue/docs")
        page.get_by_role("link", name="openapi.json", exact=True).click()
        page.wait_for_url("**/segue/openapi.json")


def test_every_link_leads_somewhere(proxy: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{proxy}", timeout=60, trust_env=False) as http:
        created = http.post("/segue/v1/jobs", files={"image": pictures.jpeg()}, headers={"Prefer": "wait=30"})
        job = created.json()
        assert created.headers["Location"] == job["links"]["self"] == f"/segue/v1/jobs/{job['id']}"
        for link in job["links"].values():
            assert http.get(link).status_code == 200, link
        events = http.get(f"/segue/v1/jobs/{job['id']}/events").text
        assert f'"self": "{job["links"]["self"]}"' in events
        assert http.get("/segue/openapi.json").json()["servers"] == [{"url": "/segue"}]
        batch = http.post("/segue/v1/batches", json={}).json()
        for name in ("self", "results", "archive"):
            assert http.get(batch["links"][name]).status_code == 200
        refused = http.get("/segue/v1/jobs/nonsense").json()
        assert refused["instance"] == "/segue/v1/jobs/nonsense"
        listed = http.get("/segue/v1/jobs?limit=1")
        assert listed.json()["data"] == [] or listed.json()["data"][0]["links"]["self"].startswith("/segue/")
